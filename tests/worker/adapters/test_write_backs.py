from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ports import Finished, ModelName
from worker.adapters.write_backs import described, ended, known_sum
from worker.ports import Closing, Ended


@given(st.lists(st.none() | st.integers(0, 10_000)))
def test_the_sum_is_of_what_is_known_and_unknown_where_nothing_is(numbers: list[int | None]) -> None:
    known = [number for number in numbers if number is not None]
    assert known_sum(numbers) == (sum(known) if known else None)


def test_an_end_carries_the_sums_over_its_calls() -> None:
    model = ModelName("p", "m")
    calls = (
        Closing("1", "succeeded", model, None, 5, tokens_in=10, tokens_out=2, cost_usd=0.5),
        Closing("2", "failed", model, None, 5, tokens_in=None, error_code="model.limited"),
        Closing("3", "succeeded", model, None, 5, tokens_in=1, tokens_out=0),
    )
    first_token_at = datetime(2026, 1, 1, tzinfo=UTC)
    row = ended(
        Ended(
            "id",
            2,
            "succeeded",
            Finished(answer="a", citations=({"n": 1},), route_reason="default", prompt_version="answer@1"),
            None,
            calls,
            first_token_at,
        )
    )
    assert (row["tokens_in"], row["tokens_cached"], row["tokens_out"], row["cost_usd"]) == (11, None, 2, 0.5)
    assert (row["answer"], row["citations"], row["first_token_at"]) == ("a", [{"n": 1}], "2026-01-01T00:00:00+00:00")
    assert [call["id"] for call in row["calls"]] == ["1", "2", "3"]
    assert {(call["route_reason"], call["prompt_version"]) for call in row["calls"]} == {("default", "answer@1")}


@pytest.mark.parametrize(
    ("costs", "total"),
    [
        ([], None),
        ([("succeeded", None, 0.25), ("succeeded", "default", 0.5)], 0.75),
        ([("succeeded", None, 0.25), ("failed", "default", None)], 0.25),  # refused before it began
        ([("failed", "default", 0.25), ("succeeded", "strong", 0.5)], 0.75),
        ([("succeeded", None, None), ("succeeded", "default", 0.5)], 0.5),  # a reranker of one's own
        ([("succeeded", None, 0.25), ("succeeded", "default", None)], None),  # an embedding, a model without a price
        ([("failed", "default", None)], None),
    ],
)
def test_a_row_whose_answer_has_no_price_has_no_cost(costs: list[Any], total: float | None) -> None:
    calls = tuple(Closing("id", status, ModelName("p", "m"), route, 5, cost_usd=usd) for status, route, usd in costs)
    assert ended(Ended("id", 1, "succeeded", None, None, calls))["cost_usd"] == total


def test_a_row_without_an_answer_says_nothing_of_answers() -> None:
    row = ended(Ended("id", 1, "failed", None, {"code": "c.d", "message": "m"}, ()))
    assert "answer" not in row
    assert row["error"] == {"code": "c.d", "message": "m"}


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ('new row violates check constraint "strict" (23514)', 'new row violates check constraint "strict" (23514)'),
        ('column "x" does not exist (42703)', 'column "x" does not exist (42703)'),
        ('invalid input syntax for type integer: "a secret" (22P02)', "the database refused the row (22P02)"),
        ("a trigger quotes a secret (P0001)", "the database refused the row (P0001)"),
        ("a secret without a code", "the database refused the row (unknown)"),
    ],
)
def test_what_is_told_of_a_problem_never_quotes_a_row(problem: str, told: str) -> None:
    assert described(problem) == told
