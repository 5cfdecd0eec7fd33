"""The pieces of a section between which a chunk may be cut, and how firmly each hangs on the piece before it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from math import ceil

from jobs.decisions.outline import Block, Kind, Section
from jobs.decisions.sentences import sentence_spans

_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n|\Z)")
_WORD = re.compile(r"\s*+\S++(?:\s++\Z)?")
_FENCE = re.compile(r"(?P<marks>`{3,}|~{3,})[^\r\n]*")


class Bond(IntEnum):
    """Between a piece and the one before it; cuts are made where it is weakest."""

    BLOCK = 0
    ITEM = 1  # list items, and lines of code below a blank line
    LEAD = 2  # a block and the sentence that announces it: "… as follows:"
    LINE = 3  # lines of code, rows of a table
    SENTENCE = 4
    WORD = 5
    HEADING = 6  # a heading and what it heads


@dataclass(frozen=True, slots=True)
class Frame:
    """What makes a piece of a code block or table readable on its own."""

    opening: str
    closing: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Atom:
    start: int
    end: int
    tokens: int  # of itself; a whole may have one or two more than its parts
    bond: Bond
    divisible: bool = False  # into sentences; code, tables and list items are repeated whole or not at all
    frame: Frame | None = None  # set on pieces of a code block or table that had to be split
    opens_frame: bool = False  # it holds the real opening
    closes_frame: bool = False  # it holds the real closing


def atoms_of(markdown: str, section: Section, *, count_tokens: Callable[[str], int], room: int) -> tuple[Atom, ...]:
    """A section's atoms, without gaps and in order, of at most `room` tokens each."""
    splitter = _Splitter(markdown, count_tokens)
    heading = tuple(splitter.split_words(section.start, section.body_start, room, Bond.BLOCK))
    heading_tokens = sum(atom.tokens for atom in heading)
    body: list[Atom] = []
    for index, block in enumerate(section.blocks):
        beside_heading = index == 0 and heading_tokens < room // 2
        pieces = tuple(splitter.split(block, room - heading_tokens if beside_heading else room))
        body += (replace(pieces[0], bond=splitter.bond_before(block)), *pieces[1:]) if pieces else ()
    if heading and body:
        body[0] = replace(body[0], bond=Bond.HEADING)
    return (*heading, *body)


@dataclass(frozen=True, slots=True)
class _Splitter:
    markdown: str
    count_tokens: Callable[[str], int]

    def bond_before(self, block: Block) -> Bond:
        announced = self.markdown[max(0, block.start - 16) : block.start].rstrip().endswith(":")
        return Bond.LEAD if announced and block.kind is not Kind.PROSE else Bond.BLOCK

    def split(self, block: Block, room: int, bond: Bond = Bond.BLOCK) -> Iterator[Atom]:
        """Pieces of at most `room` tokens: blocks and list items whole where they fit."""
        if block.kind is Kind.GROUP:
            inner = Bond.ITEM if block.children and block.children[0].kind is Kind.ITEM else Bond.BLOCK
            for index, child in enumerate(block.children):
                yield from self.split(child, room, bond if index == 0 else inner)
            return
        tokens = self._count(block.start, block.end)
        if tokens <= room:
            yield Atom(block.start, block.end, tokens, bond, divisible=block.kind is Kind.PROSE)
        elif block.kind is Kind.PROSE:
            yield from self._split_prose(block, room, bond)
        elif block.kind is Kind.ITEM:
            for index, child in enumerate(block.children):
                yield from self.split(child, room, bond if index == 0 else Bond.SENTENCE)
        else:
            yield from self._split_framed(block, room, bond)

    def split_words(self, start: int, end: int, room: int, bond: Bond) -> Iterator[Atom]:
        """The text whole where it fits, else by words, and a word that is too long by characters."""
        if start == end:
            return
        tokens = self._count(start, end)
        if tokens <= room:
            yield Atom(start, end, tokens, bond)
            return
        words = tuple((start + word.start(), start + word.end()) for word in _WORD.finditer(self.markdown[start:end]))
        if len(words) > 1:
            for index, (word_start, word_end) in enumerate(words):
                yield from self.split_words(word_start, word_end, room, bond if index == 0 else Bond.WORD)
        else:
            yield from self._split_run(start, end, tokens, room, bond)

    def _split_prose(self, block: Block, room: int, bond: Bond) -> Iterator[Atom]:
        for start, end in sentence_spans(self.markdown[block.start : block.end]):
            yield from self._split_lines(block.start + start, block.start + end, room, bond)
            bond = Bond.SENTENCE

    def _split_lines(self, start: int, end: int, room: int, bond: Bond) -> Iterator[Atom]:
        tokens = self._count(start, end)
        if tokens <= room:
            yield Atom(start, end, tokens, bond)
            return
        for line_start, line_end in self._lines(start, end):
            yield from self.split_words(line_start, line_end, room, bond)
            bond = Bond.SENTENCE

    def _split_framed(self, block: Block, room: int, bond: Bond) -> Iterator[Atom]:
        frame = self._frame(block, room)
        inner_room = room - (frame.tokens if frame else 0)
        # The opening belongs to the first line, the closing to the last: a fence or a header row alone says nothing.
        edges = list(self._lines(block.body_start, block.end))
        while len(edges) > 1 and not self.markdown[slice(*edges[-1])].strip(" \t\r\n`~"):
            edges[-2:] = [(edges[-2][0], edges[-1][1])]
        if edges:
            edges[0] = (block.start, edges[0][1])
        pieces: list[Atom] = []
        after_blank = False
        for start, end in edges or [(block.start, block.end)]:
            line_bond = bond if not pieces else Bond.ITEM if after_blank else Bond.LINE
            pieces += self.split_words(start, end, inner_room, line_bond)
            after_blank = not self.markdown[start:end].strip()
        for index, piece in enumerate(pieces):
            yield replace(piece, frame=frame, opens_frame=index == 0, closes_frame=index == len(pieces) - 1)

    def _frame(self, block: Block, room: int) -> Frame | None:
        """None where there is nothing to repeat, or where repeating it would take half of every chunk."""
        opening = self.markdown[block.start : block.body_start].strip("\r\n")
        closing = ""
        if block.kind is Kind.CODE:
            fence = _FENCE.search(opening)
            opening, closing = (fence.group(), fence["marks"]) if fence else ("", "")
        if not opening:
            return None
        tokens = self.count_tokens(f"{opening}\n\n{closing}")
        return Frame(opening, closing, tokens) if tokens <= room // 2 else None

    def _lines(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for line in _LINE.finditer(self.markdown, start, end):
            if line.start() < line.end():
                yield line.span()

    def _split_run(self, start: int, end: int, tokens: int, room: int, bond: Bond) -> Iterator[Atom]:
        """A run without a space, in parts of equal length."""
        parts = min(max(2, ceil(1.25 * tokens / max(room, 1))), end - start)
        edges = [start + (end - start) * part // parts for part in range(parts + 1)]
        for part_start, part_end in pairwise(edges):
            part_tokens = self._count(part_start, part_end)
            if part_tokens <= room or part_end - part_start <= 1:
                yield Atom(part_start, part_end, part_tokens, bond)
            else:
                yield from self._split_run(part_start, part_end, part_tokens, room, bond)
            bond = Bond.WORD

    def _count(self, start: int, end: int) -> int:
        # A space at the end becomes part of the next word's first token.
        return self.count_tokens(self.markdown[start:end].rstrip(" "))
