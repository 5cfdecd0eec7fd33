import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.realtime_server.pgoutput import POSTGRES_EPOCH, Change, ChangeKind, Decoder, Row, Transaction

NAMES = ("id", "body", "long")
MISSING = object()  # an unchanged TOAST value
Sent = tuple[object, ...]

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


# Postgres' side of the protocol


def begin(xid: int = 7, committed_at: datetime = POSTGRES_EPOCH) -> bytes:
    return b"B" + struct.pack(">QqI", 1, (committed_at - POSTGRES_EPOCH) // timedelta(microseconds=1), xid)


def commit() -> bytes:
    return b"C" + struct.pack(">BQQq", 0, 1, 2, 0)


def relation(identity: frozenset[str] = frozenset({"id"}), oid: int = 1) -> bytes:
    columns = (bytes([name in identity]) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1) for name in NAMES)
    return b"R" + struct.pack(">I", oid) + b"public\0notes\0d" + struct.pack(">H", len(NAMES)) + b"".join(columns)


def row(values: Sent) -> bytes:
    def one(value: object) -> bytes:
        if value is MISSING:
            return b"u"
        if value is None:
            return b"n"
        text = str(value).encode()
        return b"t" + struct.pack(">I", len(text)) + text

    return struct.pack(">H", len(values)) + b"".join(map(one, values))


def message(kind: bytes, *rows: tuple[bytes, Sent], oid: int = 1) -> bytes:
    return kind + struct.pack(">I", oid) + b"".join(marker + row(values) for marker, values in rows)


def decoded(*messages: bytes) -> Transaction:
    decoder = Decoder()
    found = [transaction for part in messages if (transaction := decoder.feed(part)) is not None]
    assert len(found) == 1
    return found[0]


def change(*messages: bytes) -> Change:
    [only] = decoded(begin(), *messages, commit()).changes
    return only


def as_row(values: Sent) -> Row:
    return {
        name: value if value is None else str(value)
        for name, value in zip(NAMES, values, strict=True)
        if value is not MISSING
    }


@given(st.lists(st.tuples(words, st.none() | words, st.none() | words)), st.integers(0, 2**32 - 1))
def test_a_transaction_has_its_changes_in_order(rows: list[Sent], xid: int) -> None:
    committed_at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    inserts = (message(b"I", (b"N", values)) for values in rows)
    transaction = decoded(begin(xid, committed_at), relation(), *inserts, commit())
    assert (transaction.xid, transaction.committed_at) == (xid, committed_at)
    assert [(c.kind, c.old, c.new) for c in transaction.changes] == [
        (ChangeKind.INSERT, {}, as_row(values)) for values in rows
    ]


def test_a_relation_has_names_and_types() -> None:
    found = change(relation(), message(b"I", (b"N", ("1", None, "x")))).relation
    assert (found.schema, found.table, [column.name for column in found.columns]) == ("public", "notes", list(NAMES))
    assert [(column.type_oid, column.identifies) for column in found.columns] == [(25, True), (25, False), (25, False)]


def test_an_update_without_an_old_row_has_the_identity_of_the_new_one() -> None:
    update = change(relation(), message(b"U", (b"N", ("1", "b", MISSING))))
    assert (update.kind, update.old, update.new) == (ChangeKind.UPDATE, {"id": "1"}, {"id": "1", "body": "b"})


def test_an_update_of_the_key_has_the_old_key_alone() -> None:
    update = change(relation(), message(b"U", (b"K", ("1", None, None)), (b"N", ("2", "b", MISSING))))
    assert (update.old, update.new) == ({"id": "1"}, {"id": "2", "body": "b"})


def test_with_a_full_identity_an_unchanged_value_comes_from_the_old_row() -> None:
    full = relation(frozenset(NAMES))
    update = change(full, message(b"U", (b"O", ("1", "a", "long")), (b"N", ("1", None, MISSING))))
    assert update.old == {"id": "1", "body": "a", "long": "long"}
    assert update.new == {"id": "1", "body": None, "long": "long"}


@pytest.mark.parametrize(("marker", "old"), [(b"K", {"id": "1"}), (b"O", {"id": "1", "body": None, "long": None})])
def test_a_delete_has_its_identity(marker: bytes, old: Row) -> None:
    delete = change(relation(), message(b"D", (marker, ("1", None, None))))
    assert (delete.kind, delete.old, delete.new) == (ChangeKind.DELETE, old, {})


def test_a_table_announced_again_is_another_relation() -> None:
    insert = message(b"I", (b"N", ("1", None, None)))
    first, second = decoded(begin(), relation(), insert, relation(frozenset(NAMES)), insert, commit()).changes
    assert first.relation is not second.relation


def test_what_concerns_no_subscriber_is_passed_over() -> None:
    others = (b"O" + bytes(8) + b"origin\0", b"Y" + bytes(4) + b"public\0mood\0", b"T" + bytes(9), b"M" + bytes(20))
    assert decoded(begin(), *others, commit()).changes == ()


@pytest.mark.parametrize("unknown", [b"S", b"", b"\xff"])
def test_an_unknown_message_is_an_error(unknown: bytes) -> None:
    with pytest.raises(ValueError, match="pgoutput sent a message of kind"):
        Decoder().feed(unknown)


def test_a_value_in_binary_format_is_an_error() -> None:
    decoder = Decoder()
    decoder.feed(relation())
    with pytest.raises(ValueError, match="a value of kind b'b'"):
        decoder.feed(b"I" + struct.pack(">I", 1) + b"N" + struct.pack(">H", 3) + b"b\0\0\0\1x")
