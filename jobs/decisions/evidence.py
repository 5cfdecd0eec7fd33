"""How much each unit of the passages is worth to a question: what compression keeps first."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import log

from jobs.decisions.dialogue import is_dialogue, smoothed
from jobs.decisions.fusion import Ranked
from jobs.decisions.minifying import Rows
from jobs.decisions.terms import Bm25, names, terms

# A unit's worth: how well its passage ranks, and whether it is the best one; how well its words match the question;
# whether it opens the passage (it names what the rest calls "it"); whether it holds a number where one is asked for;
# and the second hop of a question: which names it shares with the best units of other passages, and whether its
# passage is about something that one of them names. Measured by `python bench/prompt_compression.py`; the figures stand
# in docs/quality.md.
_PASSAGE_WEIGHT = 0.7
_BEST_PASSAGE_BONUS = 0.15
_WORDS_WEIGHT = 0.3
_OPENING_BONUS = 0.15
_NUMBER_BONUS = 0.2
_SHARED_WEIGHT = 0.4
_SHARING_UNITS = 3
_NAMED_BONUS = 0.3
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


def worths(units: Sequence[PassageUnit], passages: Sequence[Ranked], question: str) -> list[float]:
    """Of each unit, from 0. In a dialogue what is asked about spreads over turns that follow each other, most of
    which do not say its name: there the worth of a passage is that of its surroundings, and there are no hops.
    """
    asked = terms(question)
    talk = is_dialogue([ranked.content for ranked in passages])
    scores = smoothed(passages) if talk else [ranked.score for ranked in passages]
    bm25 = Bm25.over(asked, [unit.terms for unit in units])
    matches = _of_most([bm25.score(unit.terms) for unit in units])
    found = [
        _PASSAGE_WEIGHT * scores[unit.passage] + _WORDS_WEIGHT * match
        for unit, match in zip(units, matches, strict=True)
    ]
    if talk:
        return found
    shared = _of_most(_shared(units, found, asked))
    found = [worth + _SHARED_WEIGHT * share for worth, share in zip(found, shared, strict=True)]
    named = _named(units, found, passages)
    bonuses = _bonuses(units, scores, question)
    return [
        worth + _NAMED_BONUS * (unit.passage in named) + bonus
        for unit, worth, bonus in zip(units, found, bonuses, strict=True)
    ]


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


def _of_most(values: Sequence[float]) -> list[float]:
    most = max(values, default=0.0) or 1.0
    return [value / most for value in values]


def _best(worths: Sequence[float], count: int) -> list[int]:
    return sorted(range(len(worths)), key=lambda place: -worths[place])[:count]


def _shared(units: Sequence[PassageUnit], worths: Sequence[float], asked: Sequence[str]) -> list[float]:
    """How many names each unit has in common with the best units of other passages, beyond those of the question: the
    sum of their inverse frequencies.
    """
    found = Counter(chain.from_iterable(set(unit.terms) for unit in units))
    rarity = {term: log(len(units) / count) for term, count in found.items() if term not in asked}
    best = [(units[place].passage, names(units[place].text)) for place in _best(worths, _SHARING_UNITS)]

    def in_common(unit: PassageUnit) -> float:
        others = {name for passage, own in best if passage != unit.passage for name in own}
        if others.isdisjoint(unit.terms):
            return 0.0
        return sum(rarity.get(name, 0.0) for name in others & names(unit.text))

    return [in_common(unit) for unit in units]


def _named(units: Sequence[PassageUnit], worths: Sequence[float], passages: Sequence[Ranked]) -> set[int]:
    """Passages whose title stands in one of the best units of another passage."""
    titles = [terms(_QUALIFIER.sub("", ranked.candidate.title)) for ranked in passages]
    naming = [units[place] for place in _best(worths, _NAMING_UNITS)]
    return {
        passage
        for passage, title in enumerate(titles)
        if title and any(passage != unit.passage and _holds(unit.terms, title) for unit in naming)
    }


def _holds(text: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    starts = (place for place, term in enumerate(text) if term == phrase[0])
    return any(text[start : start + len(phrase)] == phrase for start in starts)
