"""Hints at rows of the project's own tables, for tables that rowcall.toml names. Pure.

Such a hint goes through Redis like any other, which holds no text of a user's: it carries the table and the row's key,
and a key is made of whole numbers and UUIDs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode
from uuid import UUID

from worker.ports import Hint

KIND = "row"  # of the hint; the job's kind stands in rowcall.toml
PREFIX = "row/"
WHOLE = "#"  # before a whole number

Key = Mapping[str, int | str]


class UnfitKey(Exception):
    """The record has no such key, or one that may not go through Redis; the message names the column."""


@dataclass(frozen=True, slots=True)
class RowReference:
    """A row: `schema.table`, and the values of its key columns."""

    table: str
    key: Key

    def hint(self, *, lane: str, stamp: int) -> Hint:
        """`stamp` tells a later change of the row from this one: a hint of the same name would be one with it."""
        values = [(name, f"{WHOLE}{value}" if isinstance(value, int) else value) for name, value in self.key.items()]
        return Hint(f"{PREFIX}{quote(self.table)}?{urlencode(values)}", stamp, KIND, lane, None)


def is_row_hint(hint: Hint) -> bool:
    return hint.kind == KIND and hint.id.startswith(PREFIX)


def reference_in(hint: Hint) -> RowReference:
    """The row of a hint that `RowReference.hint` made."""
    table, _, values = hint.id.removeprefix(PREFIX).partition("?")
    pairs = parse_qsl(values, strict_parsing=True)
    key = {name: int(value[1:]) if value.startswith(WHOLE) else value for name, value in pairs}
    return RowReference(unquote(table), key)


def key_of(record: Mapping[str, Any], columns: Sequence[str]) -> Key:
    """The record's key. Raises UnfitKey."""
    return {column: _fit(column, record.get(column)) for column in columns}


def _fit(column: str, value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    raise UnfitKey(f"record.{column}: a key that goes through Redis is a whole number or a UUID")
