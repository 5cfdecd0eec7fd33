"""Filters of postgres_changes (pure): `amount=gt.100,status=not.in.(open,"on hold")`, parsed and evaluated.

Postgres itself checks a filter and renders its operands when a client subscribes (`realtime.resolve_filters`), so
both sides of a comparison are the text that Postgres writes for the type. Source: supabase/realtime,
`PostgresCdcRls.Subscriptions` (grammar) and `realtime.check_equality_op` (meaning).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from worker.local.realtime_server.pgoutput import Row
from worker.local.realtime_server.protocol import to_json
from worker.local.realtime_server.values import ColumnType, Shape


class InvalidFilter(ValueError):
    """The text is for the client."""


class Operator(Enum):
    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    LIKE = "like"
    ILIKE = "ilike"
    IS = "is"
    MATCH = "match"
    IMATCH = "imatch"
    ISDISTINCT = "isdistinct"


OPERATORS = {operator.value: operator for operator in Operator}


@dataclass(frozen=True, slots=True)
class Filter:
    column: str
    operator: Operator
    operand: str  # of `in`: an array literal
    negated: bool


# Parsing


def parse_filters(text: str) -> tuple[Filter, ...]:
    """All must hold. InvalidFilter says what is wrong in the real server's words."""
    if not text.strip():
        return ()
    return tuple(_parse_condition(part) for part in _split(text))


def _split(text: str) -> Iterator[str]:
    """At commas outside quotes and parentheses. A quote opens only where a value or a list item begins."""
    depth, quoted, escaped, start = 0, False, False, 0
    for position, char in enumerate(text):
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"' and position > start and text[position - 1] in ".(,":
            quoted = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _parse_condition(text: str) -> Filter:
    text = text.strip()
    if not text:
        raise InvalidFilter("filter must not contain empty segments (check for extra commas)")
    column, equals, rest = text.partition("=")
    if not equals:
        raise InvalidFilter(f"[{to_json(text)}]")
    name, dot, operand = rest.removeprefix("not.").partition(".")
    operator = OPERATORS.get(name)
    if not dot or operator is None:
        raise InvalidFilter(f"[{to_json(name)}, {to_json(operand)}]" if dot else f"[{to_json(name)}]")
    if operator is not Operator.IN:
        operand = _unquoted(operand)
    elif operand.startswith("(") and operand.endswith(")"):
        operand = f"{{{operand[1:-1]}}}"
    else:
        raise InvalidFilter("`in` filter value must be wrapped by parentheses")
    return Filter(column, operator, operand, rest.startswith("not."))


QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _unquoted(operand: str) -> str:
    found = QUOTED.fullmatch(operand)
    return operand if found is None else re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)


# Evaluating

Test = Callable[[str | None], bool | None]  # SQL's logic: None is "unknown"

ORDERED = frozenset(
    {Shape.BOOL, Shape.NUMBER, Shape.DATE, Shape.TIMESTAMP, Shape.TEXT, Shape.PADDED_TEXT, Shape.UUID, Shape.BYTEA},
)
COMPARED = ORDERED | {Shape.ENUM}
PATTERNED = frozenset({Shape.TEXT, Shape.PADDED_TEXT})
SERVED = {
    **dict.fromkeys((Operator.LT, Operator.LTE, Operator.GT, Operator.GTE), ORDERED),
    **dict.fromkeys((Operator.EQ, Operator.NEQ, Operator.IN, Operator.ISDISTINCT), COMPARED),
    **dict.fromkeys((Operator.LIKE, Operator.ILIKE, Operator.MATCH, Operator.IMATCH), PATTERNED),
    Operator.IS: frozenset(Shape),
}
IS_KEYWORDS = {"null": None, "unknown": None, "true": "t", "false": "f"}


@dataclass(frozen=True, slots=True)
class Condition:
    column: str
    test: Test

    def holds(self, row: Row) -> bool:
        """Never for a column that was not sent, as on the real server."""
        return self.column in row and self.test(row[self.column]) is True


def condition(wanted: Filter, column_type: ColumnType, operands: tuple[str | None, ...]) -> Condition:
    """`operands` as Postgres writes them for this type: one, or for `in` any number. InvalidFilter for a type on
    which Postgres knows the operator and we do not.
    """
    if column_type.shape not in SERVED[wanted.operator]:
        operator, name = wanted.operator.value, column_type.name
        raise InvalidFilter(
            f"operator {operator} on column {wanted.column} of type {name} is not served by this server"
        )
    return Condition(wanted.column, _test(wanted, column_type, operands))


def _test(wanted: Filter, column_type: ColumnType, operands: tuple[str | None, ...]) -> Test:
    key = sort_key(column_type)
    match wanted.operator:
        case Operator.IS:
            keyword = IS_KEYWORDS[wanted.operand]
            return lambda value: (value == keyword) != wanted.negated
        case Operator.IN:
            return _in(key, operands, negated=wanted.negated)
    operand = operands[0] or ""
    if column_type.shape is Shape.PADDED_TEXT:
        operand = operand.rstrip(" ")  # also a pattern
    if wanted.operator is Operator.ISDISTINCT:
        return lambda value: (value is None or key(value) != key(operand)) != wanted.negated
    holds = _comparison(wanted.operator, key, operand)
    return lambda value: None if value is None else holds(value) != wanted.negated


def _in(key: "SortKey", operands: tuple[str | None, ...], *, negated: bool) -> Test:
    wanted = frozenset(key(operand) for operand in operands if operand is not None)
    otherwise = None if None in operands else negated
    if_null = None if operands else negated  # nothing is in an empty list

    def test(value: str | None) -> bool | None:
        if value is None:
            return if_null
        return not negated if key(value) in wanted else otherwise

    return test


def _comparison(operator: Operator, key: "SortKey", operand: str) -> Callable[[str], bool]:
    flags = re.IGNORECASE if operator in {Operator.ILIKE, Operator.IMATCH} else re.NOFLAG
    if operator in {Operator.LIKE, Operator.ILIKE}:
        pattern = re.compile(like_pattern(operand), flags | re.DOTALL)
        return lambda value: pattern.fullmatch(value) is not None
    if operator in {Operator.MATCH, Operator.IMATCH}:
        pattern = posix_pattern(operand, flags)
        return lambda value: pattern.search(value) is not None
    compare, bound = COMPARISONS[operator], key(operand)
    return lambda value: bool(compare(key(value), bound))


COMPARISONS: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQ: eq,
    Operator.NEQ: ne,
    Operator.LT: lt,
    Operator.LTE: le,
    Operator.GT: gt,
    Operator.GTE: ge,
}

SortKey = Callable[[str], Any]


def sort_key(column_type: ColumnType) -> SortKey:
    """Equal where Postgres says equal for the types in COMPARED, and ordered as there for those in ORDERED. Text goes
    by code point: the embedded database has the locale C.UTF-8.
    """
    match column_type.shape:
        case Shape.NUMBER:
            return _number_key
        case Shape.DATE | Shape.TIMESTAMP:
            return _moment_key
        case Shape.PADDED_TEXT:
            return lambda text: text.rstrip(" ")
        case _:
            return lambda text: text


def _number_key(text: str) -> tuple[bool, Decimal]:
    """NaN is above everything, and equal to itself."""
    return (True, Decimal(0)) if text == "NaN" else (False, Decimal(text))


def _moment_key(text: str) -> tuple[int, int, str]:
    """Era, year, and the rest, which sorts as text (the session's time zone is UTC)."""
    if text.endswith("infinity"):
        return (-2 if text.startswith("-") else 2, 0, "")
    year, _, rest = text.removesuffix(" BC").partition("-")
    return (-1, -int(year), rest) if text.endswith(" BC") else (1, int(year), rest)


def like_pattern(pattern: str) -> str:
    """A LIKE pattern as a regular expression: % any text, _ any character, backslash takes the next literally."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)


POSIX_TOKEN = re.compile(r"\\(?P<escape>.)|(?P<bracket>\[\^?\]?(?:\\.|[^\]])*\])|(?P<end>\$)", re.DOTALL)
BOUNDARIES = {"m": r"\b(?=\w)", "M": r"\b(?<=\w)", "y": r"\b", "Y": r"\B"}


def posix_pattern(pattern: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """Postgres has accepted it. What Python would read differently is refused rather than matched wrongly."""

    def translated(token: re.Match[str]) -> str:
        if token["escape"]:
            return BOUNDARIES.get(token["escape"], token[0])
        if token["end"]:
            return r"\Z"
        if re.search(r"\[[.=:]", token["bracket"][1:]):
            raise InvalidFilter(f"bracket expressions like {token['bracket']} are not served by this server")
        return token[0]

    if pattern.startswith("***"):
        raise InvalidFilter("regular expressions with a *** director are not served by this server")
    try:
        return re.compile(POSIX_TOKEN.sub(translated, pattern), flags | re.DOTALL)
    except re.error as error:
        raise InvalidFilter(f"this regular expression is not served by this server: {error}") from error
