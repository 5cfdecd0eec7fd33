"""Answers of an evaluation, graded by a model."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.app import Machine
from worker.client import Rowcall
from worker.evaluating import Measured, usd_of
from worker.evaluation_plan import QUALITY, EvaluationError, Item, Plan
from worker.evaluation_run import all_or_none, answered, working
from worker.settings import load


@dataclass(frozen=True, slots=True)
class Grade:
    """`score` 0 to 1, None where the judge failed; US dollars, None where the price is unknown."""

    score: float | None
    cost_usd: float | None


Grades = Mapping[str, Sequence[Grade]]  # of each variant's answers, in the order of the questions


def require_questions(plan: Plan) -> None:
    """Raises EvaluationError where there is nothing to judge an answer by."""
    if not all(isinstance(item.input.get("question"), str) for item in plan.items):
        raise EvaluationError("--judge wants a question in each input")


async def judge_answers(
    plan: Plan,
    results: Mapping[str, Sequence[Measured]],
    environ: Mapping[str, str],
    rowcall: Rowcall,
    progress: Callable[[], None],
) -> dict[str, tuple[Grade, ...]]:
    """Rows of kind judge, which ask for the best route of the configuration as it is, whatever the variants change."""
    places = asyncio.Semaphore(plan.at_once)

    async def grade(item: Item, found: Measured, m: Machine) -> Grade:
        if found.status != "succeeded":
            return Grade(0.0, 0.0)
        judged = Item({"question": item.input["question"], "references": list(item.answers), "answer": found.answer})
        async with places:
            row, _ = await answered(rowcall, m, judged, "judge", {QUALITY: "best"})
            progress()
        return Grade(row["output"]["score"] if row["status"] == "succeeded" else None, usd_of(row))

    async with working(load(environ)) as m:
        grades = [
            await all_or_none(grade(item, one, m) for item, one in zip(plan.items, found, strict=True))
            for found in results.values()
        ]
    return {name: tuple(of_variant) for name, of_variant in zip(results, grades, strict=True)}


def with_grades(
    plan: Plan, results: Mapping[str, Sequence[Measured]], grades: Grades
) -> tuple[Plan, dict[str, list[Measured]]]:
    """The questions of which every variant's answer has a grade, and the results of those with it.

    Raises EvaluationError where there is none.
    """
    places = [n for n in range(len(plan.items)) if all(found[n].score is not None for found in grades.values())]
    if not places:
        raise EvaluationError("the judge gave no grade (the local model cannot): `rowcall dead` says what failed")
    graded = {name: [replace(found[n], grade=grades[name][n].score) for n in places] for name, found in results.items()}
    return replace(plan, items=tuple(plan.items[n] for n in places)), graded


def judge_notes(asked: int, kept: int, grades: Grades) -> list[str]:
    """What a reader must know of the grades, of which `kept` questions have all."""
    costs = [grade.cost_usd for found in grades.values() for grade in found]
    known = [cost for cost in costs if cost is not None]
    usd = f"{sum(known):.5f}" if len(known) == len(costs) else "an unknown number of"
    lines = [f"quality is a model's grade, which may err and favour its like; grading cost {usd} USD"]
    if kept < asked:
        lines.append(f"{asked - kept} of {asked} questions are left out: an answer to them got no grade")
    return lines
