"""What subscribers are told about a change (pure): the `data` of a postgres_changes message.

Source: supabase/realtime, `realtime.apply_rls`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from worker.local.realtime_server.catalogue import Table
from worker.local.realtime_server.pgoutput import Change, ChangeKind, Row
from worker.local.realtime_server.protocol import to_json
from worker.local.realtime_server.values import json_text

# Python's websockets client takes no frame above 1 MiB; topic, ids and the envelope need some of it.
MOST_BYTES = 1024 * 1024 - 8 * 1024
SMALL_BYTES = 64  # a value up to here stays in a payload that is too large

TOO_LARGE = "Error 413: Payload Too Large"
NOT_READABLE = "Error 401: Unauthorized"
NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
POLICY_FAILED = "Error 500: Internal Server Error, RLS policy evaluation failed"


def change_data(
    table: Table, change: Change, committed_at: datetime, columns: Collection[str], *, row_security: bool
) -> str:
    """`columns` are those that the reader may and wants to see. With row security a DELETE shows the primary key only:
    nobody can say any more who could read that row.
    """
    old_columns = set(columns)
    if change.kind is ChangeKind.DELETE and row_security:
        old_columns &= set(table.primary_key)
    new, old = _texts(table, change.new, columns), _texts(table, change.old, old_columns)
    described = [{"name": name, "type": kind.name} for name, kind in table.types.items() if name in columns]
    data = _data(change, committed_at, to_json(described), new, old, None)
    if len(data.encode()) <= MOST_BYTES:
        return data
    return _data(change, committed_at, to_json(described), _small(new), _small(old), TOO_LARGE)


def error_data(change: Change, committed_at: datetime, error: str) -> str:
    """Nothing of the row."""
    return _data(change, committed_at, "[]", {}, {}, error)


def _texts(table: Table, row: Row, columns: Collection[str]) -> dict[str, str]:
    return {name: json_text(table.types[name], value) for name, value in row.items() if name in columns}


def _small(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if len(text.encode()) <= SMALL_BYTES}


def _data(
    change: Change,
    committed_at: datetime,
    columns: str,
    new: Mapping[str, str],
    old: Mapping[str, str],
    error: str | None,
) -> str:
    members = {
        "schema": to_json(change.relation.schema),
        "table": to_json(change.relation.table),
        "type": f'"{change.kind.value}"',
        "commit_timestamp": f'"{committed_at:%Y-%m-%dT%H:%M:%S}.{committed_at.microsecond // 1000:03}Z"',
        "columns": columns,
        "errors": "null" if error is None else to_json([error]),
    }
    if change.kind is not ChangeKind.DELETE:
        members["record"] = _object(new)
    if change.kind is not ChangeKind.INSERT:
        members["old_record"] = _object(old)
    return _object(members)


def _object(members: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{to_json(name)}:{text}' for name, text in members.items())}}}"
