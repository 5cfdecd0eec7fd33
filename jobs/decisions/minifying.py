"""JSON and tables in fewer tokens: space that is there for the eye goes first, rows that say least go next."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from jobs.decisions.outline import Kind
from jobs.decisions.terms import Bm25, terms

LEFT_OUT = "\N{HORIZONTAL ELLIPSIS}"  # where rows were left out

_FENCED = re.compile(
    r"(?P<opening> {0,3}(?P<marks>`{3,}|~{3,}) *(?P<language>\w*)[^\n]*\n)"
    r"(?P<body>.*?)(?P<closing>\n(?P=marks)[`~]*\s*)",
    re.DOTALL,
)
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*+")|[ \t\r\n]+')
_STRING_OR_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"|[][{},]')
_BLANK_LINE = re.compile(r"\n[ \t]*(?:\n|\Z)")
_PIPE = re.compile(r"(?<!\\)\|")  # GFM, section 4.10: a pipe splits cells even in code, unless it is escaped


@dataclass(frozen=True, slots=True)
class Rows:
    """A table, or a list or object in JSON, without padding, of which single rows can be left out."""

    opening: str  # with a table's header
    rows: tuple[str, ...]
    closing: str
    between: str = "\n"
    mark: str = LEFT_OUT

    @classmethod
    def of(cls, kind: Kind, block: str) -> Self | None:
        """None for what has no rows, and for what would not be the same after this: JSON that is none, a quotation."""
        if kind is Kind.TABLE:
            return cls._of_table(block)
        found = _FENCED.fullmatch(block) if kind is Kind.CODE else None
        if not found:
            return None
        if found["language"] in ("", "json"):
            return cls._of_json(found["opening"], found["body"], found["closing"])
        if found["language"] in ("csv", "tsv") and '"' not in found["body"]:  # a quoted field may hold line ends
            header, *rows = found["body"].split("\n")
            return cls(f"{found['opening']}{header}\n", tuple(rows), found["closing"])
        return None

    @property
    def whole(self) -> str:
        return self.only(range(len(self.rows)))

    def only(self, kept: Sequence[int]) -> str:
        """The rows of these numbers, which ascend, with a mark wherever rows are missing."""
        lines: list[str] = []
        expected = 0
        for row in kept:
            lines += [self.mark] * (row > expected) + [self.rows[row]]
            expected = row + 1
        lines += [self.mark] * (len(self.rows) > expected)
        return self.opening + self.between.join(lines) + self.closing

    def best(self, asked: Sequence[str], *, budget_tokens: int, count_tokens: Callable[[str], int]) -> str | None:
        """The rows that match the question best, in their order, within the budget; where none does, the first rows.

        None where not one fits.
        """
        words = [terms(row) for row in self.rows]
        bm25 = Bm25.over(asked, words)
        scores = [bm25.score(row) for row in words]
        matching = [row for row, score in enumerate(scores) if score > 0] or range(len(scores))
        kept: list[int] = []
        for row in sorted(matching, key=lambda row: -scores[row]):
            more = sorted((*kept, row))
            if count_tokens(self.only(more).rstrip()) <= budget_tokens:
                kept = more
        return self.only(kept) if kept else None

    @classmethod
    def _of_table(cls, block: str) -> Self | None:
        end = blank.start() if (blank := _BLANK_LINE.search(block)) else len(block)
        lines = block[:end].removesuffix("\n").split("\n")
        if len(lines) < 2 or block.startswith(">") or "\r" in block:
            return None
        header, delimiter, *rows = map(_row, lines)
        closing = block[end:] or block[len(block.removesuffix("\n")) :]
        return cls(f"{header}\n{re.sub('-+', '-', delimiter)}\n", tuple(rows), closing, mark=f"|{LEFT_OUT}|")

    @classmethod
    def _of_json(cls, opening: str, body: str, closing: str) -> Self | None:
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return None
        dense = _STRING_OR_SPACE.sub(lambda found: found[1] or "", body)
        if dense[0] not in "[{" or len(dense) == 2:
            return cls(opening, (dense,), closing)
        return cls(opening + dense[0], tuple(_members(dense)), dense[-1] + closing, between=",")


def _row(line: str) -> str:
    """A table's row without padding. A backslash at the end of a cell must not escape the pipe behind it."""
    cells = [cell.strip() for cell in _PIPE.split(line.strip())]
    inner = cells[not cells[0] : len(cells) - (not cells[-1])]
    return f"|{'|'.join(f'{cell} ' if cell.endswith(chr(92)) else cell for cell in inner)}|"


def _members(dense: str) -> list[str]:
    """Of a list or object in JSON, as they stand in it."""
    depth = 0
    edges = [0]
    for found in _STRING_OR_MARK.finditer(dense):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if found[0] == "," and depth == 1:
            edges.append(found.start())
    edges.append(len(dense) - 1)
    return [dense[start + 1 : end] for start, end in pairwise(edges)]
