"""Question sets and variants, as they are read."""

from pathlib import Path

import pytest

from worker.evaluation_plan import (
    EvaluationError,
    Item,
    baseline_of,
    rated_items,
    read_items,
    read_variant,
    read_variants,
)


def test_a_set_is_read_with_one_or_several_answers_and_sources(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(
        '{"question": "a?", "answer": "x"}\n\n{"input": {"question": "b?"}, "answers": ["x", "y"], "source": "s"}\n'
    )
    assert read_items(path) == (
        Item({"question": "a?"}, ("x",)),
        Item({"question": "b?"}, ("x", "y"), ("s",)),
    )


def test_of_equal_questions_the_answer_that_was_rated_last_is_the_reference() -> None:
    rows = [
        {"input": {"question": "a?", "filter": {}}, "answer": "new"},
        {"input": {"filter": {}, "question": "a?"}, "answer": "old"},
        {"input": {"question": "b?"}, "answer": "x"},
    ]
    assert [(i.answers, i.sources) for i in rated_items(rows, days=9)] == [(("new",), ()), (("x",), ())]
    with pytest.raises(EvaluationError, match="in the last 9 days"):
        rated_items([], days=9)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "set.jsonl:1 is no JSON"),
        ("[]", "set.jsonl:1 is no JSON object"),
        ('{"answer": "x"}', "set.jsonl:1 has neither a question nor an input"),
        ('{"question": "a?"}', "set.jsonl:1 has neither answers nor sources to judge an answer by; --judge wants none"),
        ('{"question": 3, "answer": "x"}', r"set.jsonl:1: question must be a text that is not empty \(it is 3\)"),
        ('{"question": " ", "answer": "x"}', "set.jsonl:1: question must be a text"),
        ('{"input": "a?", "answer": "x"}', r"set.jsonl:1: input must be an object that is not empty \(it is 'a\?'\)"),
        ('{"question": "a?", "answer": 3}', "answers must be a list of texts"),
        ("", "holds no question"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "set.jsonl").write_text(line)
    with pytest.raises(EvaluationError, match=what):
        read_items(tmp_path / "set.jsonl")


def test_a_variant_changes_keys_of_rowcall_toml_and_the_quality_of_rows() -> None:
    variant = read_variant("lean:routes.default.context_budget_tokens=300,cache.mode=exact,quality=fast")
    assert variant.name == "lean"
    assert variant.overrides == {"routes": {"default": {"context_budget_tokens": 300}}, "cache": {"mode": "exact"}}
    assert variant.options == {"quality": "fast"}


def test_a_variant_may_turn_a_cascade_on() -> None:
    checks = 'cascades.default.checks=["ending", "arithmetic"]'
    variant = read_variant(f"safe:{checks},cascades.default.to=best,quality=auto")
    assert variant.overrides == {"cascades": {"default": {"checks": ["ending", "arithmetic"], "to": "best"}}}
    assert variant.options == {"quality": "auto"}


@pytest.mark.parametrize("text", ["", ":a=1", "x:a", "x:a=1,a.b=2"])
def test_a_variant_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="variant"):
        read_variant(text)


def test_a_quality_that_no_row_takes_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"variant x: quality must be one of auto, fast, best \(it is 'super'\)"):
        read_variant("x:quality=super")


def test_variants_have_names_of_their_own_and_the_baseline_is_one_of_them() -> None:
    variants = read_variants(["a", "b:quality=best"])
    assert (baseline_of(variants, ""), baseline_of(variants, "b")) == ("a", "b")
    with pytest.raises(EvaluationError, match="--baseline: c is no variant; they are a, b"):
        baseline_of(variants, "c")
    with pytest.raises(EvaluationError, match="--variant: a is there twice"):
        read_variants(["a", "b", "a:quality=best"])
