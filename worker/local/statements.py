"""Where one SQL statement ends and the next begins: as psql splits a file, without a server."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

LETTER = r"A-Za-z_\x80-\U0010ffff"
TOKEN = re.compile(
    rf"""
      (?P<space>   \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<quoted>  (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
                 | '(?:[^']|'')*(?:'|\Z)
                 | "(?:[^"]|"")*(?:"|\Z) )
    | (?P<dollar>  (?<![\w$])\$(?:[{LETTER}][\w\x80-\U0010ffff]*)?\$ )
    | (?P<word>    [{LETTER}][\w$\x80-\U0010ffff]* )
    | (?P<end>     ; )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
COMMENT_MARK = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Statement:
    """`text` without surrounding space, comments before it and the semicolon; `line` counts from 1."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    begin: int
    end: int


def split_statements(sql: str) -> tuple[Statement, ...]:
    """Every statement in order. Semicolons in quotes, dollar quotes, comments and `begin atomic` bodies end none."""
    found: list[Statement] = []
    body = AtomicBody()
    pending: list[Token] = []
    for token in tokens(sql):
        if token.kind == "word":
            body.read(sql[token.begin : token.end].lower())
        if token.kind != "end" or body.open:
            pending.append(token)
            continue
        found.extend(statement_of(sql, pending))
        pending = []
        body = AtomicBody()
    found.extend(statement_of(sql, pending))
    return tuple(found)


def statement_of(sql: str, pending: list[Token]) -> Iterator[Statement]:
    """One, or none where there was nothing but a semicolon."""
    if pending:
        begin, end = pending[0].begin, pending[-1].end
        yield Statement(sql[begin:end], sql.count("\n", 0, begin) + 1)


def tokens(sql: str) -> Iterator[Token]:
    """What is neither space nor comment; a quoted text is one token."""
    position = 0
    while match := TOKEN.match(sql, position):
        begin, position = match.span()
        kind = match.lastgroup or ""
        if kind == "comment":
            position = end_of_comment(sql, position)
        elif kind == "dollar":
            closing = sql.find(match.group(), position)
            position = len(sql) if closing < 0 else closing + len(match.group())
        if kind not in {"space", "comment"}:
            yield Token(kind, begin, position)


def end_of_comment(sql: str, position: int) -> int:
    """Just after the comment whose opening ends at `position`; these comments nest."""
    depth = 1
    for mark in COMMENT_MARK.finditer(sql, position):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


class AtomicBody:
    """Follows the words of one statement through `begin atomic … end`, the only place for semicolons within one."""

    def __init__(self) -> None:
        self._previous = ""
        self._depth = 0  # of the body itself and of `case … end` inside it

    @property
    def open(self) -> bool:
        return self._depth > 0

    def read(self, word: str) -> None:
        if (self._previous, word) == ("begin", "atomic") or (self.open and word == "case"):
            self._depth += 1
        elif self.open and word == "end":
            self._depth -= 1
        self._previous = word
