"""What of a text is kept or left out as one: a sentence, a list item, a code block, a table."""

from collections.abc import Iterator

from jobs.decisions.outline import Block, Kind, read_sections
from jobs.decisions.sentences import sentence_spans


def unit_spans(text: str) -> tuple[tuple[int, int], ...]:
    """The places of the text's units, in order, without its headings: those stand in the passage's path.

    A text of headings alone is one unit, and a blank one has none.
    """
    spans = [span for section in read_sections(text) for block in section.blocks for span in _spans(text, block)]
    return tuple((start, end) for start, end in spans or [(0, len(text))] if text[start:end].strip())


def _spans(text: str, block: Block) -> Iterator[tuple[int, int]]:
    if block.kind is Kind.GROUP:
        for child in block.children:
            yield from _spans(text, child)
    elif block.kind is Kind.PROSE:
        for start, end in sentence_spans(text[block.start : block.end]):
            yield block.start + start, block.start + end
    else:
        yield block.start, block.end
