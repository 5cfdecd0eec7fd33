from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.examples import LEAST_SIMILARITY, choose_examples


@dataclass(frozen=True)
class Example:
    question: str
    answer: str
    similarity: float


EXAMPLES = st.lists(
    st.builds(
        Example,
        question=st.sampled_from(["reset my password", "password reset", "pay an invoice", "close my account", ""]),
        answer=st.text(max_size=30),
        similarity=st.floats(-1, 1),
    ),
    max_size=12,
)


def chosen(candidates: list[Example], *, limit: int = 3, budget: int = 1000) -> tuple[Example, ...]:
    return choose_examples(candidates, limit=limit, budget_tokens=budget, count_tokens=len)


@given(EXAMPLES, st.integers(0, 5), st.integers(0, 200))
def test_examples_are_few_short_and_near_the_most_similar_last(
    candidates: list[Example], limit: int, budget: int
) -> None:
    found = chosen(candidates, limit=limit, budget=budget)
    assert len(found) <= limit
    assert sum(len(e.question) + len(e.answer) for e in found) <= budget
    assert all(e in candidates and e.similarity >= LEAST_SIMILARITY for e in found)
    assert list(found) == sorted(found, key=lambda e: e.similarity)


@given(EXAMPLES)
def test_the_same_question_is_not_shown_twice(candidates: list[Example]) -> None:
    words = [frozenset(e.question.split()) for e in chosen(candidates, limit=12)]
    assert len(set(words)) == len(words)


@given(EXAMPLES)
def test_the_most_similar_that_fits_is_always_shown(candidates: list[Example]) -> None:
    near = [e for e in candidates if e.similarity >= LEAST_SIMILARITY]
    if near:
        best = max(e.similarity for e in near)
        assert chosen(candidates)[-1].similarity == best


def test_one_that_does_not_fit_makes_room_for_a_shorter_one() -> None:
    long, short = Example("reset my password", "x" * 500, 0.9), Example("pay an invoice", "here", 0.6)
    assert chosen([long, short], budget=100) == (short,)


def test_what_says_something_else_goes_before_what_says_the_same_a_little_better() -> None:
    first = Example("how do I reset my password today", "a", 0.90)
    again = Example("how do I reset my password now", "b", 0.81)
    other = Example("where is the sign-in page", "c", 0.80)
    assert chosen([first, again, other], limit=2) == (other, first)
