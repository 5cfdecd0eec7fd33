"""What can be quoted from a text: sentences, list items, tables and code blocks, each whole."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise, takewhile

_FENCE = re.compile(r"^\s*(?P<fence>```+|~~~+)")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>\S.*)$")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_INDENTED = re.compile(r"^(?: {2,}|\t)\s*\S")
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")
# A sentence ends at . ! or ? (and what closes a quotation, bracket or emphasis), before a capital, a digit or markup.
_SENTENCE_GAP = re.compile(r"(?<=[.!?])(?P<closing>[\"'”’)\]*_]*)\s+(?=[\"'“‘(\[*_`]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|vs|cf|approx|resp|Mr|Mrs|Dr|St|No|Fig|Sec|ver)|(?<![\w.])[A-Za-z])\.$")
_UNDERLINE = re.compile(r"^(?:={3,}|-{3,}|~{3,}|\^{3,})\s*$")
_FULL_STOP = re.compile(r"[.!?][\"'”’)\]*_]*$")

LONGEST_ANNOUNCED_CHARS = 900


class Kind(Enum):
    HEADING = "heading"
    PROSE = "prose"
    ITEM = "item"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a text, verbatim up to white space. `heading` is the one it stands under within the text, or empty."""

    text: str
    heading: str
    is_sentence: bool  # it may share a line with others
    ends_in_block: bool  # code or a table: nothing may follow in its last line


def excerpts(text: str) -> tuple[Excerpt, ...]:
    """The pieces in their order. A sentence that announces code, a table or a list takes it along."""
    found: list[Excerpt] = []
    heading = ""
    for block, announced in _with_announced(tuple(_blocks(text.split("\n")))):
        if block.kind is Kind.HEADING:
            heading = block.text
        elif block.kind is Kind.PROSE:
            *sentences, last = _sentences(block.text)
            found += [Excerpt(sentence, heading, is_sentence=True, ends_in_block=False) for sentence in sentences]
            found += _last_sentence(last, announced, heading)
        else:
            found.append(Excerpt(block.text, heading, is_sentence=False, ends_in_block=block.kind is not Kind.ITEM))
    return tuple(found)


def _last_sentence(sentence: str, announced: Sequence[Block], heading: str) -> list[Excerpt]:
    if announced:
        text = "\n".join((f"{sentence}\n", *(block.text for block in announced)))
        return [Excerpt(text, heading, is_sentence=False, ends_in_block=announced[-1].kind is not Kind.ITEM)]
    if sentence.endswith(":"):  # what it announces is too long, or cut off: alone it says nothing
        return []
    return [Excerpt(sentence, heading, is_sentence=True, ends_in_block=False)]


def _with_announced(blocks: Sequence[Block]) -> Iterator[tuple[Block, Sequence[Block]]]:
    """Each block with those that its last sentence announces; what is announced does not come again."""
    index = 0
    while index < len(blocks):
        block = blocks[index]
        index += 1
        announced = _announced(blocks, index) if block.kind is Kind.PROSE else ()
        index += len(announced)
        yield block, announced


def _announced(blocks: Sequence[Block], start: int) -> Sequence[Block]:
    """The code, table or list that begins at `start`, if the prose before it leads there and it is short enough."""
    announcing = blocks[start - 1].text
    if _FULL_STOP.search(announcing) or start == len(blocks):
        return ()
    # A line without a full stop above code is its title; lists and tables want a colon.
    kinds = {Kind.ITEM, Kind.TABLE, Kind.CODE} if announcing.endswith(":") else {Kind.CODE}
    end = start
    while end < len(blocks) and blocks[end].kind in kinds:
        end += 1
        if blocks[end - 1].kind is not Kind.ITEM:
            break
    followers = blocks[start:end]
    return followers if sum(len(block.text) for block in followers) <= LONGEST_ANNOUNCED_CHARS else ()


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.strip():
            index += 1
        elif fence := _FENCE.match(line):
            end = _end_of_fence(lines, index, fence["fence"])
            if end <= len(lines):  # one that is never closed would swallow the rest of an answer
                yield Block(Kind.CODE, "\n".join(lines[index:end]))
            index = end
        elif heading := _HEADING.match(line):
            yield Block(Kind.HEADING, heading["text"])
            index += 1
        else:
            end = _end_of_paragraph(lines, index)
            yield from _paragraph(lines[index:end])
            index = end


def _end_of_fence(lines: Sequence[str], start: int, fence: str) -> int:
    """The line after the closing fence; beyond the last line where there is none."""
    for index in range(start + 1, len(lines)):
        if lines[index].strip() == fence:
            return index + 1
    return len(lines) + 1


def _end_of_paragraph(lines: Sequence[str], start: int) -> int:
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if not line.strip() or _FENCE.match(line) or _HEADING.match(line):
            return index
    return len(lines)


def _paragraph(lines: Sequence[str]) -> Iterator[Block]:
    """A paragraph's blocks: a list has one per item."""
    rows = len(tuple(takewhile(_TABLE_ROW.match, lines)))
    if rows:
        yield Block(Kind.TABLE, "\n".join(lines[:rows]))
        lines = lines[rows:]
    if len(lines) > 1 and _UNDERLINE.match(lines[1]):
        yield Block(Kind.HEADING, lines[0].strip())
        lines = lines[2:]
    starts = [index for index, line in enumerate(lines) if index == 0 or _ITEM.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        part = lines[start:end]
        if _ITEM.match(part[0]):
            yield Block(Kind.ITEM, "\n".join(part))
        elif all(_INDENTED.match(line) for line in part):
            yield Block(Kind.CODE, "\n".join(part))
        else:
            yield Block(Kind.PROSE, " ".join(" ".join(part).split()))


def _sentences(paragraph: str) -> list[str]:
    sentences: list[str] = []
    start = 0
    for gap in _SENTENCE_GAP.finditer(paragraph):
        sentence = paragraph[start : gap.end("closing")]
        if not _ABBREVIATION.search(sentence):
            sentences.append(sentence)
            start = gap.end()
    sentences.append(paragraph[start:])
    return sentences
