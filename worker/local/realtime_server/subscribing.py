"""What a client asks for under `postgres_changes`, read and refused (pure) in the real server's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.local.realtime_server.filters import Filter, InvalidFilter, parse_filters
from worker.local.realtime_server.pgoutput import ChangeKind
from worker.local.realtime_server.protocol import to_json

ANY = "*"
EVENTS = frozenset(kind.value for kind in ChangeKind)


class InvalidSubscription(ValueError):
    """The text is for the client."""


@dataclass(frozen=True, slots=True)
class Binding:
    event: str  # INSERT, UPDATE, DELETE or *
    schema: str  # or *
    table: str  # or *
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None  # None: every column

    def wants(self, kind: ChangeKind) -> bool:
        return self.event in {ANY, kind.value}

    def covers(self, schema: str, table: str) -> bool:
        return self.schema in {ANY, schema} and self.table in {ANY, table}

    def describe(self) -> str:
        """As the real server's messages name it."""
        filters = ", ".join(
            f"{{{to_json(f.column)}, {to_json(f.operator.value)}, {to_json(f.operand)}, {to_json(f.negated)}}}"
            for f in self.filters
        )
        select = "nil" if self.select is None else to_json(self.select).replace(",", ", ")
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, filters: [{filters}], select: {select}]"
        )


def parse_binding(params: Mapping[str, Any]) -> Binding:
    event = str(params.get("event", ANY)).upper()
    select = _select(params.get("select"))
    schema, table = params.get("schema"), params.get("table")
    if not isinstance(schema or table, str) or not isinstance(schema, str | None) or not isinstance(table, str | None):
        raise InvalidSubscription(
            "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
            + to_json(params),
        )
    binding = Binding(
        event=event if event in EVENTS else ANY,
        schema=schema or "public",
        table=table or ANY,
        filters=_filters(params.get("filter")),
        select=select,
    )
    if select is not None and ANY in {binding.schema, binding.table}:
        raise InvalidSubscription(
            "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.",
        )
    return binding


def _select(wanted: object) -> tuple[str, ...] | None:
    if isinstance(wanted, str):
        raise InvalidSubscription(
            'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]',
        )
    names = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
    return tuple(names) or None


def _filters(wanted: object) -> tuple[Filter, ...]:
    if wanted is None:
        return ()
    try:
        return parse_filters(str(wanted))
    except InvalidFilter as error:
        raise InvalidSubscription(f"Error parsing `filter` params: {error}") from error


def unknown_table(binding: Binding) -> InvalidSubscription:
    return InvalidSubscription(
        "Unable to subscribe to changes with given parameters. "
        f"Please check Realtime is enabled for the given connect parameters: {binding.describe()}",
    )


def refused(binding: Binding, reason: object) -> InvalidSubscription:
    return InvalidSubscription(
        "Unable to subscribe to changes with given parameters. "
        f"An exception happened so please check your connect parameters: {binding.describe()}. Exception: {reason}",
    )
