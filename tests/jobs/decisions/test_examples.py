from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.examples import LEAST_SIMILARITY, FewShot, choose_examples


@dataclass(frozen=True)
class Example:
    question: str
    answer: str
    similarity: float
    to_nearer: tuple[float, ...] = ()


def near(vectors: Sequence[Sequence[float]], answers: Sequence[str], questions: Sequence[str]) -> list[Example]:
    """As the database finds them for a question whose vector is (1, 0, 0, ...)."""
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-unit[:, 0], kind="stable")
    cosines = unit[order] @ unit[order].T
    return [
        Example(questions[at], answers[at], float(unit[at, 0]), tuple(map(float, cosines[place, :place])))
        for place, at in enumerate(order)
    ]


QUESTIONS = ["reset my password", "password reset", "pay an invoice", "close my account", ""]
ANSWERS = st.sampled_from(["a", "b", "A ", "another"]) | st.text(max_size=30)
vectors = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda v: np.linalg.norm(v) > 0.1)


@st.composite
def found(draw: Callable[..., object]) -> list[Example]:
    """Up to 12 candidates, of few answers or of any."""
    rows = draw(st.lists(st.tuples(vectors, ANSWERS, st.sampled_from(QUESTIONS)), max_size=12))
    assert isinstance(rows, list)
    return near(*zip(*rows, strict=True)) if rows else []


def chosen(
    candidates: Sequence[Example], question: str = "how do I sign in", *, limit: int = 3, budget: int = 1000
) -> tuple[Example, ...]:
    return choose_examples(candidates, question, FewShot(limit, budget), len)


def differing(candidates: Sequence[Example]) -> list[Example]:
    return [replace(c, answer=f"{place}: {c.answer}") for place, c in enumerate(candidates)]


@given(found(), st.integers(0, 5), st.integers(0, 200))
def test_examples_are_few_short_and_near(candidates: list[Example], limit: int, budget: int) -> None:
    shown = chosen(candidates, limit=limit, budget=budget)
    assert len(shown) <= limit
    assert sum(len(e.question) + len(e.answer) for e in shown) <= budget
    assert all(e in candidates and e.similarity >= LEAST_SIMILARITY for e in shown)


@given(found())
def test_the_same_question_is_not_shown_twice(candidates: list[Example]) -> None:
    words = [frozenset(e.question.split()) for e in chosen(candidates, limit=12)]
    assert len(set(words)) == len(words)


@given(found(), st.sampled_from(QUESTIONS))
def test_where_answers_differ_nearness_alone_decides(candidates: list[Example], question: str) -> None:
    candidates = differing(candidates)
    shown = chosen(candidates, question)
    assert shown == tuple(sorted(shown, key=lambda e: e.similarity))
    nearest = [c.similarity for c in candidates[:1] if c.similarity >= LEAST_SIMILARITY]
    assert [e.similarity for e in shown[-1:]] == nearest
    apart = [replace(c, to_nearer=(0.0,) * len(c.to_nearer)) for c in candidates]
    assert [e.answer for e in chosen(apart)] == [e.answer for e in shown]


@given(found())
def test_of_examples_with_one_answer_the_most_similar_is_last(candidates: list[Example]) -> None:
    shown = chosen(candidates, limit=5)
    for answer in {e.answer for e in shown}:
        of_it = [place for place, e in enumerate(shown) if e.answer == answer]
        similarities = [shown[place].similarity for place in of_it]
        assert similarities == sorted(similarities)


def test_one_that_does_not_fit_makes_room_for_a_shorter_one() -> None:
    long, short = Example("reset my password", "x" * 500, 0.9), Example("pay an invoice", "here", 0.6, (0.5,))
    assert chosen([long, short], budget=100) == (short,)


def test_what_says_something_else_goes_before_what_says_the_same_a_little_better() -> None:
    first = Example("how do I reset my password today", "a", 0.90)
    again = Example("how do I reset my password now", "b", 0.81, (0.9,))
    other = Example("where is the sign-in page", "c", 0.80, (0.7, 0.7))
    assert chosen([first, again, other], limit=2) == (other, first)


def test_two_that_are_near_by_different_ways_outweigh_a_nearer_one() -> None:
    questions = ["my card has not come", "where is it", "has it been sent", "is it stolen", "was it taken"]
    answers = ["stolen", "arrival", "arrival", "stolen", "stolen"]
    towards = [(1, 0.6, 0, 0), (1, 0, 0.7, 0), (1, 0, -0.7, 0), (1, 1.2, 0, 0.1), (1, 1.2, 0, -0.1)]
    shown = chosen(near(towards, answers, questions))
    assert [e.answer for e in shown] == ["stolen", "arrival", "arrival"]
    assert shown[0].question == "my card has not come"
    assert [e.answer for e in chosen(near(towards, list("abcde"), questions), limit=1)] == ["a"]
