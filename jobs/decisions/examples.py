"""Which earlier exchanges are shown to the model beside a question."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from jobs.decisions.caching import normalised
from jobs.decisions.terms import terms

LEAST_SIMILARITY = 0.35  # cosine of the questions; below it an example is about something else

# Maximal marginal relevance (Carbonell and Goldstein 1998): what an example that says the same as a chosen one loses.
# `python bench/few_shot.py` chose it, and the three below, on one part of the data and reports another.
REPEAT_WEIGHT = 0.1
SAME = 0.9  # share of words of two questions from which they are one

REPEATING = 0.5  # share of candidates whose answer another has too, from which answers are a choice of few
WORDS_WEIGHT = 0.3  # of the share of words of two questions, beside their cosine
RIDGE = 0.2

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class FewShot:
    """How many examples a prompt shows."""

    limit: int = 2
    budget_tokens: int = 400  # of all together


FEW_SHOT = FewShot()


class Scored(Protocol):
    """A question, its good answer, and how near it is."""

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> str: ...

    @property
    def similarity(self) -> float: ...

    @property
    def to_nearer(self) -> Sequence[float]:
        """The cosines of its question with those of the candidates before it, in their order."""
        ...


Example = TypeVar("Example", bound=Scored)


def choose_examples(
    candidates: Sequence[Example], question: str, few_shot: FewShot, count_tokens: Callable[[str], int]
) -> tuple[Example, ...]:
    """At most as many examples and tokens as few_shot allows, similar to the question and not to each other.

    `candidates`: nearest first. Where many of them have the same answer (labels, routes, canned texts), each answer is
    shown in proportion to what speaks for it, by the highest quotients of d'Hondt. The best stands last, nearest to the
    question.
    """
    left = [c for c in candidates if c.similarity >= LEAST_SIMILARITY]  # the nearest: none before one of them goes
    words = {c.question: frozenset(terms(c.question)) for c in left}
    support = _support(left, question)
    chosen: list[Example] = []
    left_tokens = few_shot.budget_tokens

    def repeated(candidate: Example) -> float:
        return max((_shared(words[candidate.question], words[other.question]) for other in chosen), default=0.0)

    def worth(candidate: Example) -> tuple[float, float]:
        answer = normalised(candidate.answer)
        seats = sum(normalised(other.answer) == answer for other in chosen)
        return support[answer] / (1 + seats), candidate.similarity - REPEAT_WEIGHT * repeated(candidate)

    while left and len(chosen) < few_shot.limit:
        best = max(left, key=worth)
        left.remove(best)
        tokens = count_tokens(best.question) + count_tokens(best.answer)
        if repeated(best) < SAME and tokens <= left_tokens:
            chosen.append(best)
            left_tokens -= tokens
    return tuple(sorted(chosen, key=lambda c: (support[normalised(c.answer)], c.similarity)))


def _support(candidates: Sequence[Scored], question: str) -> Mapping[str, float]:
    """How much the candidates speak for each answer, >= 0; all 0 where few of them have an answer in common.

    A ridge regression in the space of the vectors and words of the candidates alone, in its dual form (Saunders et al.
    1998): it learns which directions tell the answers apart here, where a vote only counts who is near.
    """
    answers = [normalised(c.answer) for c in candidates]
    count = Counter(answers)
    support = dict.fromkeys(answers, 0.0)
    if sum(n for n in count.values() if n > 1) < REPEATING * len(answers) or not answers:
        return support
    alike = WORDS_WEIGHT * _shared_words([question, *(c.question for c in candidates)])
    asked = alike[0, 1:] + [c.similarity for c in candidates]
    among = alike[1:, 1:] + (1 + RIDGE) * np.eye(len(candidates))
    for place, candidate in enumerate(candidates):
        among[place, :place] += candidate.to_nearer
        among[:place, place] += candidate.to_nearer
    for answer, weight in zip(answers, np.linalg.solve(among, asked), strict=True):
        support[answer] += float(weight)
    return {answer: max(0.0, summed) for answer, summed in support.items()}


def _shared_words(texts: Sequence[str]) -> NDArray[np.float64]:
    """Of each two texts, of the words of both (stop words too, which tell what is asked), 0 to 1."""
    words = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    places = {word: place for place, word in enumerate(frozenset().union(*words))}
    holds = np.zeros((len(texts), len(places)))
    for row, of_text in enumerate(words):
        holds[row, [places[word] for word in of_text]] = 1.0
    both, count = holds @ holds.T, holds.sum(axis=1)
    shared: NDArray[np.float64] = both / np.maximum(1.0, count[:, None] + count - both)
    return shared


def _shared(one: frozenset[str], two: frozenset[str]) -> float:
    """Of the words of both, 0 to 1."""
    return len(one & two) / len(one | two) if one | two else 1.0
