"""How much each unit of the passages is worth to a question: what compression keeps first."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import fsum, log
from statistics import median

from jobs.decisions.dialogue import is_dialogue, smoothed
from jobs.decisions.fusion import Ranked
from jobs.decisions.minifying import Rows
from jobs.decisions.terms import Bm25, names, terms

# A unit's worth: how well its passage ranks, and whether it is the best one; how much of the question its words cover;
# whether it opens the passage (it names what the rest calls "it"); whether it holds a number where one is asked for;
# and the second hop of a question, from the best units to other passages: which names it shares with them, and how
# much of its passage's title they name. Where a hop begins the passages decide more than the words, since half of the
# question speaks of where it ends. Where units have vectors, how much nearer one is to the question than half of them.
# Measured by `python bench/prompt_compression.py`; the figures stand in docs/quality.md.
_PASSAGE_WEIGHT = 0.7
_BEST_PASSAGE_BONUS = 0.15
_COVERAGE_WEIGHT = 0.6
_OPENING_BONUS = 0.15
_NUMBER_BONUS = 0.2
_NEARNESS_WEIGHT = 0.3
_STARTING_COVERAGE_WEIGHT = 0.3
_STARTING_UNITS = 3
_SHARED_WEIGHT = 0.3
_PARTLY_NAMED_WEIGHT = 0.4
_NAMED_BONUS = 0.2
_NAMING_UNITS = 10

# In English, as the stop words of terms.py.
_ASKS_FOR_NUMBER = re.compile(
    r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade)\b"
    r"|\bhow (?:many|much|long|old|far|tall|high|big|large)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")  # "Charmed (TV series)": no other text names it so


@dataclass(frozen=True, slots=True)
class PassageUnit:
    """A unit of units.py in one of the passages; JSON and tables without padding."""

    passage: int
    start: int
    end: int
    text: str
    tokens: int
    terms: tuple[str, ...]
    rows: Rows | None
    similarity: float | None = None  # cosine with the question; None: it has no vector


def worths(units: Sequence[PassageUnit], passages: Sequence[Ranked], question: str) -> list[float]:
    """Of each unit, from 0. In a dialogue what is asked about spreads over turns that follow each other, most of
    which do not say its name: there the worth of a passage is that of its surroundings, and there are no hops.
    """
    asked = terms(question)
    talk = is_dialogue([ranked.content for ranked in passages])
    scores = smoothed(passages) if talk else [ranked.score for ranked in passages]
    ranks = [_PASSAGE_WEIGHT * scores[unit.passage] for unit in units]
    covered = _covered(units, asked)
    found = [rank + _COVERAGE_WEIGHT * share for rank, share in zip(ranks, covered, strict=True)]
    if talk:
        return found
    starts = [rank + _STARTING_COVERAGE_WEIGHT * share for rank, share in zip(ranks, covered, strict=True)]
    hops = _hops(units, starts, passages, frozenset(asked))
    bonuses = _bonuses(units, scores, question)
    near = _nearness([unit.similarity for unit in units])
    return [sum(parts) for parts in zip(found, hops, bonuses, near, strict=True)]


def _covered(units: Sequence[PassageUnit], asked: Sequence[str]) -> list[float]:
    """The share of the question's terms that stand in each unit, weighed by their inverse frequency, 0 to 1."""
    # fsum: a set has another order in each process, and a sum in another order may differ in its last digit.
    weights = Bm25.over(asked, [unit.terms for unit in units]).weights
    total = fsum(weights.values()) or 1.0
    return [fsum(weights[term] for term in weights.keys() & unit.terms) / total for unit in units]


def _nearness(similarities: Sequence[float | None]) -> list[float]:
    """How far each lies above the median of those that are known, as a share of the highest: most say nothing."""
    known = [similarity for similarity in similarities if similarity is not None]
    middle = median(known) if known else 0.0
    span = max(known, default=0.0) - middle
    if span <= 0:
        return [0.0] * len(similarities)
    return [_NEARNESS_WEIGHT * max(0.0, s - middle) / span if s is not None else 0.0 for s in similarities]


def _bonuses(units: Sequence[PassageUnit], scores: Sequence[float], question: str) -> list[float]:
    """For what a unit is, whatever it says: in the best passage, at the beginning of one, with a number."""
    best = max(scores, default=0.0)
    openings = {unit.passage: place for place, unit in reversed(list(enumerate(units)))}
    asks_for_number = bool(_ASKS_FOR_NUMBER.search(question))
    return [
        _BEST_PASSAGE_BONUS * (scores[unit.passage] == best)
        + _OPENING_BONUS * (openings[unit.passage] == place)
        + _NUMBER_BONUS * (asks_for_number and bool(_DIGIT.search(unit.text)))
        for place, unit in enumerate(units)
    ]


def _hops(
    units: Sequence[PassageUnit], starts: Sequence[float], passages: Sequence[Ranked], asked: frozenset[str]
) -> list[float]:
    """What each unit gains by the best units of other passages."""
    best = [(units[place].passage, names(units[place].text) - asked) for place in _best(starts, _STARTING_UNITS)]
    shared = [_SHARED_WEIGHT * share for share in _shared(units, best)]
    reached = [start + share for start, share in zip(starts, shared, strict=True)]
    naming = [units[place] for place in _best(reached, _NAMING_UNITS)]
    named = [
        _PARTLY_NAMED_WEIGHT * _partly_named(passage, title, best) + _NAMED_BONUS * _named(passage, title, naming)
        for passage, title in enumerate(terms(_QUALIFIER.sub("", ranked.candidate.title)) for ranked in passages)
    ]
    return [share + named[unit.passage] for unit, share in zip(units, shared, strict=True)]


def _best(worths: Sequence[float], count: int) -> list[int]:
    return sorted(range(len(worths)), key=lambda place: -worths[place])[:count]


def _shared(units: Sequence[PassageUnit], best: Sequence[tuple[int, frozenset[str]]]) -> list[float]:
    """How many names of the best units of other passages stand in each unit: the sum of their inverse frequencies, as a
    share of the most that a unit has.
    """
    found = Counter(chain.from_iterable(set(unit.terms) for unit in units))

    def in_common(unit: PassageUnit) -> float:
        others = {name for passage, own in best if passage != unit.passage for name in own}
        return fsum(log(len(units) / found[name]) for name in others.intersection(unit.terms))

    values = [in_common(unit) for unit in units]
    most = max(values, default=0.0) or 1.0
    return [value / most for value in values]


def _partly_named(passage: int, title: Sequence[str], best: Sequence[tuple[int, frozenset[str]]]) -> float:
    """The share of the title's terms that one of the best units of another passage names, beyond the question's."""
    return max(
        (len(own.intersection(title)) / len(set(title)) for other, own in best if title and other != passage),
        default=0.0,
    )


def _named(passage: int, title: tuple[str, ...], naming: Sequence[PassageUnit]) -> bool:
    """Whether the title stands in one of these units of other passages."""
    return bool(title) and any(unit.passage != passage and _holds(unit.terms, title) for unit in naming)


def _holds(text: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    if phrase[0] not in text:  # nearly always, and much sooner seen
        return False
    return any(text[start : start + len(phrase)] == phrase for start in range(len(text)))
