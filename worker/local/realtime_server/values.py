"""Postgres' text output as JSON (pure): what `to_jsonb` makes of the value, as the real server does.

One difference: a composite value stays text. `to_jsonb` makes an object of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from worker.local.realtime_server.protocol import to_json


class Shape(Enum):
    """How a type is read. Domains have the shape of what they are made of."""

    BOOL = auto()
    NUMBER = auto()
    JSON = auto()
    DATE = auto()
    TIMESTAMP = auto()
    TEXT = auto()
    PADDED_TEXT = auto()
    UUID = auto()
    BYTEA = auto()
    ENUM = auto()
    ARRAY = auto()
    OTHER = auto()


SHAPES = {
    16: Shape.BOOL,
    17: Shape.BYTEA,
    18: Shape.TEXT,  # "char"
    19: Shape.TEXT,  # name
    20: Shape.NUMBER,  # int8
    21: Shape.NUMBER,  # int2
    23: Shape.NUMBER,  # int4
    25: Shape.TEXT,
    114: Shape.JSON,
    700: Shape.NUMBER,  # float4
    701: Shape.NUMBER,  # float8
    1042: Shape.PADDED_TEXT,  # char(n)
    1043: Shape.TEXT,  # varchar
    1082: Shape.DATE,
    1114: Shape.TIMESTAMP,
    1184: Shape.TIMESTAMP,  # with time zone
    1700: Shape.NUMBER,  # numeric
    2950: Shape.UUID,
    3802: Shape.JSON,  # jsonb
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    name: str  # pg_type.typname, which clients are told
    shape: Shape
    element: "ColumnType | None" = None  # of an array


NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
SHORT_OFFSET = re.compile(r"([+-]\d\d)(?= BC$|$)")


def json_text(column_type: ColumnType, text: str | None) -> str:
    """JSON, as text: numbers keep their digits and json values are not parsed."""
    if text is None:
        return "null"
    match column_type.shape:
        case Shape.BOOL:
            return "true" if text == "t" else "false"
        case Shape.NUMBER if text not in NOT_FINITE:
            return text
        case Shape.JSON:
            return text
        case Shape.TIMESTAMP:
            return to_json(SHORT_OFFSET.sub(r"\1:00", text.replace(" ", "T", 1)))
        case Shape.BYTEA:
            return to_json(text.removeprefix(r"\x"))  # wal2json, which the real server reads, leaves it out
        case Shape.ARRAY if column_type.element is not None:
            return _array_text(column_type.element, parse_array(text))
    return to_json(text)


Array = list["Array | str | None"]


def _array_text(element: ColumnType, items: Array) -> str:
    texts = (_array_text(element, item) if isinstance(item, list) else json_text(element, item) for item in items)
    return f"[{','.join(texts)}]"


ARRAY_TOKEN = re.compile(r'[{},]|"(?:[^"\\]|\\.)*"|(?:[^{},"\\\s]|\\.)(?:[^{},"\\]|\\.)*', re.DOTALL)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_array(literal: str) -> Array:
    """The elements of an array literal, `{a,"b,c",NULL}`, arrays within as lists. ValueError when it is none."""
    _bounds, braces, rest = literal.partition("{")  # `[0:1]={…}`: JSON arrays have no lower bound
    tokens = iter(_tokens(braces + rest))
    if next(tokens, None) != "{":
        raise ValueError("an array literal begins with {")
    items = _items(tokens)
    if next(tokens, None) is not None:
        raise ValueError("something follows the array literal")
    return items


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        found = ARRAY_TOKEN.match(text, position)
        if found is None:
            raise ValueError("an array literal with an open quote or a stray one")
        yield found[0]
        position = found.end()


def _items(tokens: Iterator[str]) -> Array:
    """Up to the closing brace."""
    items: Array = []
    for part in tokens:
        if part == "}" and not items:
            return items
        items.append(_items(tokens) if part == "{" else _item(part))
        match next(tokens, None):
            case ",":
                continue
            case "}":
                return items
            case _:
                break
    raise ValueError("an array literal that does not end")


def _item(part: str) -> str | None:
    if part in {",", "}"}:
        raise ValueError("an array literal with nothing between its commas")
    if part.startswith('"'):
        return ESCAPED.sub(r"\1", part[1:-1])
    return None if part.upper() == "NULL" else ESCAPED.sub(r"\1", part.rstrip())
