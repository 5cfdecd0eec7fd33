"""Passages cut down to the sentences that the question needs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import log

from jobs.decisions.fusion import Ranked
from jobs.decisions.minifying import Rows
from jobs.decisions.terms import Bm25, terms
from jobs.decisions.units import units_of

# A unit's score: how well its passage ranks, how well its words match the question, whether it opens the passage (it
# names what the rest calls "it"), and the second hop of a question: whether it shares words with the best units of
# other passages, and whether its passage is about something that one of them names. Measured by
# `python bench/prompt_compression.py`; the figures stand in docs/quality.md.
_PASSAGE_WEIGHT = 0.7
_WORDS_WEIGHT = 0.3
_OPENING_BONUS = 0.15
_SHARED_WEIGHT = 0.3
_SHARING_UNITS = 3
_NAMED_BONUS = 0.2
_NAMING_UNITS = 10


@dataclass(frozen=True, slots=True)
class Passage:
    """What the prompt shows of a chunk."""

    chunk_id: int
    document_id: str
    title: str
    source: str | None
    heading_path: tuple[str, ...]
    text: str
    tokens: int
    score: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit of units.py in one of the passages; JSON and tables without padding."""

    passage: int
    start: int
    end: int
    text: str
    tokens: int
    terms: tuple[str, ...]
    rows: Rows | None


def compress(
    passages: Sequence[Ranked], question: str, *, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Passage, ...]:
    """The passages within the budget, in their order; untouched where all of them fit.

    Otherwise the units that score best are kept, in the order of the text. A passage is kept with its best unit or not
    at all. JSON and tables lose their padding; one that still does not fit keeps the rows that match the question. The
    tokens of all texts together are at most budget_tokens.
    """
    whole = tuple(_passage(ranked, ranked.content, _tokens(ranked, count_tokens)) for ranked in passages)
    if sum(passage.tokens for passage in whole) <= budget_tokens:
        return whole
    units = [unit for index, ranked in enumerate(passages) for unit in _units(index, ranked.content, count_tokens)]
    units = [unit for unit in units if unit.tokens <= budget_tokens or unit.rows]
    asked = terms(question)
    kept = _best_first(units, _scores(units, passages, asked), asked, budget_tokens, count_tokens)
    while kept:
        texts = [_text([unit for unit in kept if unit.passage == index]) for index in range(len(passages))]
        shortened = tuple(_passage(p, t, count_tokens(t)) for p, t in zip(passages, texts, strict=True) if t)
        if sum(passage.tokens for passage in shortened) <= budget_tokens:
            return shortened
        kept.pop()  # a text can have a token or two more than its units
    return ()


def _best_first(
    units: Sequence[_Unit],
    scores: Sequence[float],
    asked: Sequence[str],
    budget_tokens: int,
    count_tokens: Callable[[str], int],
) -> list[_Unit]:
    left = budget_tokens
    kept: list[_Unit] = []
    seen: set[int] = set()
    opened: set[int] = set()
    for index in sorted(range(len(units)), key=lambda index: -scores[index]):
        unit = units[index]
        may_open = unit.passage not in seen
        seen.add(unit.passage)
        if not may_open and unit.passage not in opened:
            continue
        if unit.tokens > left and unit.rows:
            text = unit.rows.best(asked, budget_tokens=left, count_tokens=count_tokens) or unit.text
            unit = replace(unit, text=text, tokens=count_tokens(text.rstrip()))
        if unit.tokens <= left:
            kept.append(unit)
            opened.add(unit.passage)
            left -= unit.tokens
    return kept


def _scores(units: Sequence[_Unit], passages: Sequence[Ranked], asked: Sequence[str]) -> list[float]:
    bm25 = Bm25.over(asked, [unit.terms for unit in units])
    matches = _of_most([bm25.score(unit.terms) for unit in units])
    first = [
        _PASSAGE_WEIGHT * passages[unit.passage].score + _WORDS_WEIGHT * match
        for unit, match in zip(units, matches, strict=True)
    ]
    shared = _of_most(_shared(units, first, asked))
    scores = [score + _SHARED_WEIGHT * share for score, share in zip(first, shared, strict=True)]
    named = _named(units, scores, passages)
    openings = {unit.passage: place for place, unit in reversed(list(enumerate(units)))}
    return [
        score + _NAMED_BONUS * (unit.passage in named) + _OPENING_BONUS * (openings[unit.passage] == place)
        for place, (unit, score) in enumerate(zip(units, scores, strict=True))
    ]


def _of_most(values: Sequence[float]) -> list[float]:
    most = max(values, default=0.0) or 1.0
    return [value / most for value in values]


def _best(scores: Sequence[float], count: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: -scores[place])[:count]


def _shared(units: Sequence[_Unit], scores: Sequence[float], asked: Sequence[str]) -> list[float]:
    """How much each unit has in common with the best units of other passages, beyond the question's words: the sum of
    the terms' inverse frequencies.
    """
    found = Counter(chain.from_iterable(set(unit.terms) for unit in units))
    worth = {term: log(len(units) / count) for term, count in found.items() if term not in asked}
    best = [units[place] for place in _best(scores, _SHARING_UNITS)]

    def in_common(unit: _Unit) -> float:
        others = {term for other in best if other.passage != unit.passage for term in other.terms}
        return sum(worth.get(term, 0.0) for term in others.intersection(unit.terms))

    return [in_common(unit) for unit in units]


def _named(units: Sequence[_Unit], scores: Sequence[float], passages: Sequence[Ranked]) -> set[int]:
    """Passages whose title stands in one of the best units of another passage."""
    titles = [frozenset(terms(ranked.candidate.title)) for ranked in passages]
    naming = [(units[place].passage, frozenset(units[place].terms)) for place in _best(scores, _NAMING_UNITS)]
    return {
        passage
        for passage, title in enumerate(titles)
        if title and any(passage != other and title <= words for other, words in naming)
    }


def _units(passage: int, text: str, count_tokens: Callable[[str], int]) -> Iterator[_Unit]:
    for unit in units_of(text):
        piece = text[unit.start : unit.end]
        rows = Rows.of(unit.kind, piece)
        piece = rows.whole if rows else piece
        yield _Unit(passage, unit.start, unit.end, piece, count_tokens(piece.rstrip()), terms(piece), rows)


def _text(units: Sequence[_Unit]) -> str:
    """The units in the order of the text, on lines of their own where something was left out between them."""
    pieces: list[str] = []
    end = -1
    for unit in sorted(units, key=lambda unit: unit.start):
        if pieces and unit.start != end:
            pieces[-1] = pieces[-1].rstrip() + "\n"
        pieces.append(unit.text)
        end = unit.end
    return "".join(pieces).strip("\n").rstrip()


def _tokens(ranked: Ranked, count_tokens: Callable[[str], int]) -> int:
    """Of the passage as it was ranked; those of a whole chunk were counted when it was ingested."""
    found = ranked.candidate
    return found.tokens if ranked.content == found.content else count_tokens(ranked.content)


def _passage(ranked: Ranked, text: str, tokens: int) -> Passage:
    c = ranked.candidate
    return Passage(c.chunk_id, c.document_id, c.title, c.source, c.heading_path, text, tokens, ranked.score)
