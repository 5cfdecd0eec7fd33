"""Decoding (pure) of what Postgres' `pgoutput` streams: protocol version 1, text format.

Source: PostgreSQL manual, "Logical Replication Message Formats".
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

Row = Mapping[str, str | None]  # a column that is missing was not sent: an unchanged TOAST value, or no identity

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Origin, Type, Truncate, Message: nothing that a subscriber is told.
IGNORED = frozenset(b"OYTM")


class ChangeKind(Enum):
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type_oid: int
    identifies: bool  # part of the replica identity: with REPLICA IDENTITY FULL every column is, so not "primary key"


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A table as of some moment; Postgres sends a new one after each change of the table."""

    oid: int
    schema: str
    table: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Change:
    kind: ChangeKind
    relation: Relation
    old: Row  # the replica identity; everything with REPLICA IDENTITY FULL; empty for an INSERT
    new: Row  # empty for a DELETE


@dataclass(frozen=True, slots=True)
class Transaction:
    xid: int  # 32 bits: without the epoch
    committed_at: datetime
    changes: tuple[Change, ...]


class Decoder:
    """Messages in, transactions out, each when its commit arrives."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._changes: list[Change] = []
        self._xid = 0
        self._committed_at = POSTGRES_EPOCH

    def feed(self, message: bytes) -> Transaction | None:
        """ValueError for a message that this protocol does not have."""
        body = memoryview(message)[1:]
        match message[:1]:
            case b"I" | b"U" | b"D":
                self._changes.append(self._change(message[0], body))
            case b"B":
                self._begin(body)
            case b"C":
                return Transaction(self._xid, self._committed_at, tuple(self._changes))
            case b"R":
                relation = _relation(body)
                self._relations[relation.oid] = relation
            case kind if kind and kind[0] in IGNORED:
                pass
            case kind:
                raise ValueError(f"pgoutput sent a message of kind {kind!r}")
        return None

    def _begin(self, body: memoryview) -> None:
        _final_lsn, microseconds, self._xid = struct.unpack_from(">QqI", body)
        self._committed_at = POSTGRES_EPOCH + timedelta(microseconds=microseconds)
        self._changes = []

    def _change(self, kind: int, body: memoryview) -> Change:
        relation = self._relations[struct.unpack_from(">I", body)[0]]
        reader = _Reader(body, 4)
        old: Row = {}
        new: Row = {}
        for marker in reader.markers():
            if marker == b"N":
                new = _sent(relation, reader)
            else:
                old = _sent(relation, reader, only_identity=marker == b"K")
        match kind:
            case 0x49:  # I
                return Change(ChangeKind.INSERT, relation, {}, new)
            case 0x44:  # D
                return Change(ChangeKind.DELETE, relation, old, {})
        if not old:  # the identity did not change, so it was not sent
            identity = {c.name: new[c.name] for c in relation.columns if c.identifies and c.name in new}
            return Change(ChangeKind.UPDATE, relation, identity, new)
        # With REPLICA IDENTITY FULL an unchanged TOAST value is in the old row. Otherwise `old` is the identity alone,
        # and a key is never left out of the new row.
        return Change(ChangeKind.UPDATE, relation, old, {**old, **new})


def _relation(body: memoryview) -> Relation:
    (oid,) = struct.unpack_from(">I", body)
    reader = _Reader(body, 4)
    schema, table = reader.text(), reader.text()
    reader.skip(1)  # the replica identity setting
    columns: list[Column] = []
    for _ in range(reader.integer(">H")):
        flags = reader.integer(">B")
        name = reader.text()
        columns.append(Column(name, reader.integer(">I"), bool(flags & 1)))
        reader.skip(4)  # the type modifier
    return Relation(oid, schema, table, tuple(columns))


def _sent(relation: Relation, reader: "_Reader", *, only_identity: bool = False) -> Row:
    values = reader.values()
    return {
        column.name: value
        for column, (sent, value) in zip(relation.columns, values, strict=True)
        if sent and (column.identifies or not only_identity)
    }


class _Reader:
    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._position = position

    def markers(self) -> Iterator[bytes]:
        while self._position < len(self._data):
            yield bytes(self._take(1))

    def values(self) -> Iterator[tuple[bool, str | None]]:
        """For each column: whether it was sent, and its text."""
        for _ in range(self.integer(">H")):
            match bytes(self._take(1)):
                case b"t":
                    yield True, str(self._take(self.integer(">I")), "utf-8")
                case b"n":
                    yield True, None
                case b"u":
                    yield False, None
                case kind:
                    raise ValueError(f"pgoutput sent a value of kind {kind!r}")

    def integer(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._position)
        self._position += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        end = bytes(self._data[self._position :]).index(0)
        return str(self._take(end + 1)[:-1], "utf-8")

    def skip(self, count: int) -> None:
        self._position += count

    def _take(self, count: int) -> memoryview:
        taken = self._data[self._position : self._position + count]
        self._position += count
        return taken
