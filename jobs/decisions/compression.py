"""Passages cut down to the sentences that the question needs."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from jobs.decisions.evidence import PassageUnit, worths
from jobs.decisions.fusion import Ranked
from jobs.decisions.minifying import Rows
from jobs.decisions.terms import terms
from jobs.decisions.units import Unit, units_of


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


def compress(
    passages: Sequence[Ranked], question: str, *, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Passage, ...]:
    """The passages within the budget, in their order; untouched where all of them fit.

    Otherwise the units that are worth most are kept, in the order of the text. A passage is kept with its best unit or
    not at all. JSON and tables lose their padding; one that still does not fit keeps the rows that match the question.
    The tokens of all texts together are at most budget_tokens.
    """
    whole = tuple(_passage(ranked, ranked.content, _tokens(ranked, count_tokens)) for ranked in passages)
    if sum(passage.tokens for passage in whole) <= budget_tokens:
        return whole
    units = [unit for index, ranked in enumerate(passages) for unit in _units(index, ranked, count_tokens)]
    units = [unit for unit in units if unit.tokens <= budget_tokens or unit.rows]
    kept = _best_first(units, worths(units, passages, question), terms(question), budget_tokens, count_tokens)
    while kept:
        texts = [_text([unit for unit in kept if unit.passage == index]) for index in range(len(passages))]
        shortened = tuple(_passage(p, t, count_tokens(t)) for p, t in zip(passages, texts, strict=True) if t)
        if sum(passage.tokens for passage in shortened) <= budget_tokens:
            return shortened
        kept.pop()  # a text can have a token or two more than its units
    return ()


def _best_first(
    units: Sequence[PassageUnit],
    worth: Sequence[float],
    asked: Sequence[str],
    budget_tokens: int,
    count_tokens: Callable[[str], int],
) -> list[PassageUnit]:
    left = budget_tokens
    kept: list[PassageUnit] = []
    seen: set[int] = set()
    opened: set[int] = set()
    for index in sorted(range(len(units)), key=lambda index: -worth[index]):
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


def _units(passage: int, ranked: Ranked, count_tokens: Callable[[str], int]) -> Iterator[PassageUnit]:
    text = ranked.content
    units = units_of(text)
    for unit, near in zip(units, _similarities(ranked, units), strict=True):
        piece = text[unit.start : unit.end]
        rows = Rows.of(unit.kind, piece)
        piece = rows.whole if rows else piece
        yield PassageUnit(passage, unit.start, unit.end, piece, count_tokens(piece.rstrip()), terms(piece), rows, near)


def _similarities(ranked: Ranked, units: Sequence[Unit]) -> Iterator[float | None]:
    """Of each unit of what is left of the chunk, that of the chunk's own unit in which its middle lies. None where the
    chunk's units have no vectors, or were others when it was ingested.
    """
    whole, known = ranked.candidate.content, ranked.candidate.unit_similarities
    ends = [unit.end for unit in (units if whole == ranked.content else units_of(whole))] if known else []
    offset = max(0, whole.find(ranked.content))
    for unit in units:
        place = bisect_right(ends, offset + (unit.start + unit.end) // 2)
        yield known[place] if len(ends) == len(known) > place else None


def _text(units: Sequence[PassageUnit]) -> str:
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
