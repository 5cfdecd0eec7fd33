"""Passages cut down to the sentences that the question needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jobs.decisions.fusion import Ranked
from jobs.decisions.outline import Block, Kind, read_sections
from jobs.decisions.sentences import sentence_spans
from jobs.decisions.terms import Bm25, terms

# A unit's score: how well its passage ranks, how well its words match the question, whether it opens the passage (it
# names what the rest calls "it"), whether its passage is about something that one of the best units names (the second
# hop of a question). How often the answer is still in the text at a quarter of the tokens, in per cent, with passages
# ranked by `fuse` over all-MiniLM-L6-v2:
#
#                                  NQ, 20 passages   HotpotQA, 10   MuSiQue, 20   XQuAD, 10
#   the first quarter                   38.7             35.7           41.0          27.5
#   the best passages, whole            97.3             68.1           50.0          98.8
#   sentences by BM25                   73.3             77.3           41.0          97.8
#   passage and words                   97.3             77.8           58.0          99.4
#   all four                            97.3             88.1           65.0          99.1
_PASSAGE_WEIGHT = 0.7
_WORDS_WEIGHT = 0.3
_OPENING_BONUS = 0.15
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
    """What is kept or left out as one: a sentence, a list item, a code block, a table."""

    passage: int
    start: int
    end: int
    tokens: int
    terms: tuple[str, ...]


def compress(
    passages: Sequence[Ranked], question: str, *, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Passage, ...]:
    """The passages within the budget, in their order; untouched where all of them fit.

    Otherwise the units that score best are kept, in the order of the text. A passage is kept with its best unit or not
    at all. The tokens of all texts together are at most budget_tokens.
    """
    whole = tuple(_passage(ranked, ranked.content, count_tokens) for ranked in passages)
    if sum(passage.tokens for passage in whole) <= budget_tokens:
        return whole
    units = [unit for index, ranked in enumerate(passages) for unit in _units(index, ranked.content, count_tokens)]
    units = [unit for unit in units if unit.tokens <= budget_tokens]
    kept = _best_first(units, _scores(units, passages, question), budget_tokens)
    while kept:
        texts = [_text(p.content, [u for u in kept if u.passage == index]) for index, p in enumerate(passages)]
        shortened = tuple(_passage(p, text, count_tokens) for p, text in zip(passages, texts, strict=True) if text)
        if sum(passage.tokens for passage in shortened) <= budget_tokens:
            return shortened
        kept.pop()  # a text can have a token or two more than its units
    return ()


def _best_first(units: Sequence[_Unit], scores: Sequence[float], budget_tokens: int) -> list[_Unit]:
    left = budget_tokens
    kept: list[_Unit] = []
    seen: set[int] = set()
    opened: set[int] = set()
    for index in sorted(range(len(units)), key=lambda index: -scores[index]):
        unit = units[index]
        is_best = unit.passage not in seen
        seen.add(unit.passage)
        if unit.tokens <= left and (is_best or unit.passage in opened):
            kept.append(unit)
            opened.add(unit.passage)
            left -= unit.tokens
    return kept


def _scores(units: Sequence[_Unit], passages: Sequence[Ranked], question: str) -> list[float]:
    bm25 = Bm25.over(terms(question), [unit.terms for unit in units])
    matches = [bm25.score(unit.terms) for unit in units]
    best = max(matches, default=0.0) or 1.0
    scores = [
        _PASSAGE_WEIGHT * passages[unit.passage].score + _WORDS_WEIGHT * match / best
        for unit, match in zip(units, matches, strict=True)
    ]
    named = _named(units, scores, passages)
    openings = {unit.passage: place for place, unit in reversed(list(enumerate(units)))}
    return [
        score + _NAMED_BONUS * (unit.passage in named) + _OPENING_BONUS * (openings[unit.passage] == place)
        for place, (unit, score) in enumerate(zip(units, scores, strict=True))
    ]


def _named(units: Sequence[_Unit], scores: Sequence[float], passages: Sequence[Ranked]) -> set[int]:
    """Passages whose title stands in one of the best units of another passage."""
    titles = [frozenset(terms(ranked.candidate.title)) for ranked in passages]
    best = sorted(range(len(units)), key=lambda index: -scores[index])[:_NAMING_UNITS]
    naming = [(units[index].passage, frozenset(units[index].terms)) for index in best]
    return {
        passage
        for passage, title in enumerate(titles)
        if title and any(passage != other and title <= words for other, words in naming)
    }


def _units(passage: int, text: str, count_tokens: Callable[[str], int]) -> Iterator[_Unit]:
    """The passage's units, in order, without its headings: those stand in its path."""
    spans = [span for section in read_sections(text) for block in section.blocks for span in _spans(text, block)]
    for start, end in spans or [(0, len(text))]:
        piece = text[start:end]
        if piece.strip():
            yield _Unit(passage, start, end, count_tokens(piece.rstrip()), terms(piece))


def _spans(text: str, block: Block) -> Iterator[tuple[int, int]]:
    if block.kind is Kind.GROUP:
        for child in block.children:
            yield from _spans(text, child)
    elif block.kind is Kind.PROSE:
        for start, end in sentence_spans(text[block.start : block.end]):
            yield block.start + start, block.start + end
    else:
        yield block.start, block.end


def _text(text: str, units: Sequence[_Unit]) -> str:
    """The units in the order of the text, on lines of their own where something was left out between them."""
    pieces: list[str] = []
    end = -1
    for unit in sorted(units, key=lambda unit: unit.start):
        if pieces and unit.start != end:
            pieces[-1] = pieces[-1].rstrip() + "\n"
        pieces.append(text[unit.start : unit.end])
        end = unit.end
    return "".join(pieces).strip("\n").rstrip()


def _passage(ranked: Ranked, text: str, count_tokens: Callable[[str], int]) -> Passage:
    c = ranked.candidate
    return Passage(c.chunk_id, c.document_id, c.title, c.source, c.heading_path, text, count_tokens(text), ranked.score)
