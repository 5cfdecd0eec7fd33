"""What of a text is kept or left out as one: a sentence, a list item, a code block, a table."""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.decisions.outline import Block, Kind, read_sections
from jobs.decisions.sentences import sentence_spans


@dataclass(frozen=True, slots=True)
class Unit:
    kind: Kind
    start: int
    end: int


def units_of(text: str) -> tuple[Unit, ...]:
    """The text's units, in order, without its headings: those stand in the passage's path.

    A text of headings alone is one unit, and a blank one has none.
    """
    units = [unit for section in read_sections(text) for block in section.blocks for unit in _units(text, block)]
    return tuple(u for u in units or [Unit(Kind.PROSE, 0, len(text))] if text[u.start : u.end].strip())


def unit_texts(text: str) -> tuple[str, ...]:
    return tuple(text[unit.start : unit.end].strip() for unit in units_of(text))


def _units(text: str, block: Block) -> Iterator[Unit]:
    if block.kind is Kind.GROUP:
        for child in block.children:
            yield from _units(text, child)
    elif block.kind is Kind.PROSE:
        for start, end in sentence_spans(text[block.start : block.end]):
            yield Unit(Kind.PROSE, block.start + start, block.start + end)
    else:
        yield Unit(block.kind, block.start, block.end)
