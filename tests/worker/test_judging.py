"""Grades and what is made of them; the judge itself is in tests/jobs, a run in tests/e2e."""

from collections.abc import Mapping, Sequence

import pytest

from tests.worker.test_evaluating import ITEM, ROW
from worker.evaluating import measured
from worker.evaluation_plan import EvaluationError, Item, Plan, Variant
from worker.judging import Grade, judge_notes, require_questions, with_grades

PLAN = Plan((Variant("a"), Variant("b")), (ITEM, Item({"question": "Who?"})), "a", is_judged=True)
RESULTS = {name: [measured(ROW, item, None) for item in PLAN.items] for name in "ab"}


def grades(**scores: Sequence[float | None]) -> Mapping[str, Sequence[Grade]]:
    return {name: [Grade(score, 0.01) for score in found] for name, found in scores.items()}


def test_a_grade_goes_before_every_other_measure() -> None:
    plan, results = with_grades(PLAN, RESULTS, grades(a=(0.5, 1.0), b=(0.2, 0.0)))
    assert plan == PLAN
    assert [[m.quality for m in found] for found in results.values()] == [[0.5, 1.0], [0.2, 0.0]]
    assert results["a"][0].cited


def test_a_question_of_which_one_answer_has_no_grade_is_left_out_everywhere_and_counted() -> None:
    given = grades(a=(0.5, 1.0), b=(None, 0.0))
    plan, results = with_grades(PLAN, RESULTS, given)
    assert (plan.items, len(results["a"]), len(results["b"])) == (PLAN.items[1:], 1, 1)
    cost, left_out = judge_notes(2, len(plan.items), given)
    assert "0.04000 USD" in cost
    assert left_out == "1 of 2 questions are left out: an answer to them got no grade"


def test_without_any_grade_there_is_no_report() -> None:
    with pytest.raises(EvaluationError, match="gave no grade"):
        with_grades(PLAN, RESULTS, grades(a=(None, 1.0), b=(0.1, None)))


def test_a_judge_wants_questions() -> None:
    require_questions(PLAN)
    with pytest.raises(EvaluationError, match="wants a question"):
        require_questions(Plan(PLAN.variants, (Item({"prompt": "x"}, ("y",)),), "a", is_judged=True))
