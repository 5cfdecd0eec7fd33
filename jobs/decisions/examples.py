"""Which earlier exchanges are shown to the model beside a question."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from jobs.decisions.terms import terms

LEAST_SIMILARITY = 0.35  # cosine of the questions; below it an example is about something else

# Maximal marginal relevance (Carbonell and Goldstein 1998): what an example that says the same as a chosen one loses.
# `python bench/few_shot.py` chose it on one part of the data and reports another.
REPEAT_WEIGHT = 0.1
SAME = 0.9  # share of words of two questions from which they are one


class Scored(Protocol):
    """A question, its good answer, and how near it is."""

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> str: ...

    @property
    def similarity(self) -> float: ...


Example = TypeVar("Example", bound=Scored)


def choose_examples(
    candidates: Sequence[Example], *, limit: int, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Example, ...]:
    """At most `limit` examples, similar to the question and not to each other, of at most budget_tokens together.

    The most similar is the last: it stands nearest to the question.
    """
    left = [(c, frozenset(terms(c.question))) for c in candidates if c.similarity >= LEAST_SIMILARITY]
    chosen: list[tuple[Example, frozenset[str]]] = []
    while left and len(chosen) < limit:
        shared = [max((_shared(words, other) for _, other in chosen), default=0.0) for _, words in left]
        worth = [c.similarity - REPEAT_WEIGHT * repeat for (c, _), repeat in zip(left, shared, strict=True)]
        best = worth.index(max(worth))
        candidate, words = left.pop(best)
        tokens = count_tokens(candidate.question) + count_tokens(candidate.answer)
        if shared[best] < SAME and tokens <= budget_tokens:
            chosen.append((candidate, words))
            budget_tokens -= tokens
    return tuple(sorted((c for c, _ in chosen), key=lambda c: c.similarity))


def _shared(one: frozenset[str], two: frozenset[str]) -> float:
    """Of the words of both, 0 to 1."""
    return len(one & two) / len(one | two) if one | two else 1.0
