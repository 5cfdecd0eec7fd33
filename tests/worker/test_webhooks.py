import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ports import Hint
from worker.row_hints import RowReference, reference_in
from worker.webhooks import Found, Malformed, Watched, is_secret, is_signed, read_change, read_rows

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ID = "0b0e7f3e-2f2f-4b55-9d0a-0c6f6a1d3c11"
ROW: dict[str, Any] = {"id": ID, "attempt": 0, "kind": "answer", "lane": "interactive", "tenant": "acme"}
ROWS: dict[str, Any] = {"type": "INSERT", "schema": "rowcall", "table": "generations", "rows": [ROW]}
RECORD: dict[str, Any] = {**ROW, "status": "queued", "run_at": NOW.isoformat(), "input": {"question": "private"}}
CHANGE: dict[str, Any] = {
    "type": "INSERT",
    "schema": "rowcall",
    "table": "generations",
    "record": RECORD,
    "old_record": None,
}
HINT = Hint(ID, 0, "answer", "interactive", "acme")


def dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


# Who may send


def test_a_known_signature_is_good() -> None:
    """Computed with `printf '1780000000.{"a": 1}' | openssl dgst -sha256 -hmac topsecret`."""
    header = "t=1780000000,v1=a8ec8f058c9e666ed4b253e1f5852d17dc054331182e6c091af1a9a456bda905"
    assert is_signed(header, b'{"a": 1}', ["topsecret"], now_s=1_780_000_000)


def signature(secret: str, stamp: int, body: bytes) -> str:
    return f"t={stamp},v1={hmac.new(secret.encode(), b'%d.' % stamp + body, hashlib.sha256).hexdigest()}"


@given(secret=st.text(min_size=1), body=st.binary(), skew=st.integers(-300, 300))
def test_what_either_secret_has_signed_lately_is_good(secret: str, body: bytes, skew: int) -> None:
    header = signature(secret, 1_780_000_000 + skew, body)
    assert is_signed(header, body, ["old", secret], now_s=1_780_000_000)
    assert is_signed(header, body, [secret, "new"], now_s=1_780_000_000)
    assert not is_signed(header, body + b" ", [secret], now_s=1_780_000_000)
    assert not is_signed(header, body, [secret + "x"], now_s=1_780_000_000)
    assert not is_signed(header, body, [], now_s=1_780_000_000)


@pytest.mark.parametrize("skew", [-301, 301, -86_400, 86_400])
def test_what_was_signed_long_ago_or_far_ahead_is_not(skew: int) -> None:
    header = signature("secret", 1_780_000_000 + skew, b"{}")
    assert not is_signed(header, b"{}", ["secret"], now_s=1_780_000_000)


@given(st.text())
def test_no_other_header_is_good(header: str) -> None:
    assert not is_signed(header, b"{}", ["secret"], now_s=0.0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda h: h.upper(),
        lambda h: h.replace("t=", ""),
        lambda h: h.replace(",", ", "),
        lambda h: h[:-1],
        lambda h: h + "0",
        lambda h: h + "\n",
        lambda h: h.replace("t=1", "t=\u0660"),
        lambda h: h.replace("t=1", "t=-1"),
    ],
)
def test_a_good_signature_in_another_form_is_not_good(spoil: Any) -> None:
    header = signature("secret", 1_780_000_000, b"{}")
    assert is_signed(header, b"{}", ["secret"], now_s=1_780_000_000)
    assert not is_signed(spoil(header), b"{}", ["secret"], now_s=1_780_000_000)


def test_a_secret_is_compared_byte_by_byte() -> None:
    assert is_secret("schlüssel".encode(), ["other", "schlüssel"])
    assert not is_secret(b"", ["schluessel"])
    assert not is_secret(b"schluesse", ["schluessel"])


# What they may say


def test_our_triggers_body_is_read() -> None:
    other = {**ROW, "id": str(uuid4()), "attempt": 3, "tenant": None}
    found = read_rows(dumped({**ROWS, "type": "REPLAY", "rows": [ROW, other]}))
    assert found == Found((HINT, Hint(other["id"], 3, "answer", "interactive", None)))
    assert read_rows(dumped({**ROWS, "rows": []})) == Found()


def test_fields_that_a_later_version_may_send_are_no_error() -> None:
    assert read_rows(dumped({**ROWS, "version": 2, "rows": [{**ROW, "priority": 1}]})) == Found((HINT,))


def test_a_database_webhooks_body_is_read() -> None:
    assert read_change(dumped(CHANGE), now=NOW) == Found((HINT,))


def test_a_row_that_is_to_run_later_waits() -> None:
    later = {**RECORD, "run_at": (NOW + timedelta(seconds=90)).isoformat()}
    assert read_change(dumped({**CHANGE, "record": later}), now=NOW) == Found((HINT,), 90.0)


@pytest.mark.parametrize(
    "change",
    [
        {**CHANGE, "record": {**RECORD, "status": "running"}},
        {**CHANGE, "type": "UPDATE", "old_record": RECORD},
        {**CHANGE, "type": "DELETE", "record": None, "old_record": RECORD},
    ],
)
def test_a_change_that_makes_no_work_finds_nothing(change: dict[str, Any]) -> None:
    assert read_change(dumped(change), now=NOW) == Found()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**ROWS, "type": "DROP"}, "type: Input should be 'INSERT', 'REPLAY' or 'CANCEL' (it is 'DROP')"),
        ({**ROWS, "schema": "public"}, "schema: Input should be 'rowcall' (it is 'public')"),
        ({**ROWS, "table": "users"}, "table: Input should be 'generations' (it is 'users')"),
        ({"type": "INSERT"}, "schema: Field required"),
        ({**ROWS, "rows": None}, "rows: Input should be a valid array (it is None)"),
        (
            {**ROWS, "rows": [ROW, {**ROW, "attempt": "0"}]},
            "rows.1.attempt: Input should be a valid integer (it is '0')",
        ),
        ({**ROWS, "rows": [{**ROW, "attempt": True}]}, "rows.0.attempt: Input should be a valid integer (it is True)"),
        ({**ROWS, "rows": [{**ROW, "attempt": -1}]}, "rows.0.attempt: Input should be greater than or equal to 0"),
        ({**ROWS, "rows": [{**ROW, "attempt": 2**31}]}, "rows.0.attempt: Input should be less than or equal to"),
        ({**ROWS, "rows": [{**ROW, "id": "7"}]}, "rows.0.id: Input should be a valid UUID"),
        ({**ROWS, "rows": [{**ROW, "kind": ""}]}, "rows.0.kind: String should have at least 1 character (it is '')"),
        ({**ROWS, "rows": [{k: v for k, v in ROW.items() if k != "lane"}]}, "rows.0.lane: Field required"),
        ({**ROWS, "rows": [{**ROW, "tenant": 7}]}, "rows.0.tenant: Input should be a valid string (it is 7)"),
        ({**ROWS, "rows": [ROW] * 501}, "rows: List should have at most 500 items"),
        ([], "body: Input should be an object"),
        ("text", "body: Input should be an object (it is 'text')"),
    ],
)
def test_a_body_of_ours_that_is_wrong_is_described_by_field_and_value(body: Any, named: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_rows(dumped(body))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**CHANGE, "type": "TRUNCATE"}, "'TRUNCATE'"),
        ({**CHANGE, "table": "users"}, "table: Input should be 'generations' (it is 'users')"),
        ({**CHANGE, "record": None}, "record: Input should be an object (it is None)"),
        ({**CHANGE, "record": {**RECORD, "id": 7}}, "record.id: "),
        ({**CHANGE, "record": {**RECORD, "run_at": "soon"}}, "record.run_at: "),
        ({**CHANGE, "record": {**RECORD, "run_at": "2026-11-24T00:00:00"}}, "record.run_at: "),
        ({"record": RECORD}, "'type'"),
    ],
)
def test_a_database_webhook_that_is_wrong_is_described_by_field_and_value(body: Any, named: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_change(dumped(body), now=NOW)
    assert named in str(caught.value)


def test_a_value_is_shown_in_part_and_one_that_holds_others_not_at_all() -> None:
    with pytest.raises(Malformed) as long:
        read_rows(dumped({**ROWS, "table": "x" * 10_000}))
    assert len(str(long.value)) < 300
    with pytest.raises(Malformed) as nested:
        read_change(dumped({**CHANGE, "type": "TRUNCATE"}), now=NOW)
    assert "private" not in str(nested.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary() | JSON.map(dumped))
def test_whatever_comes_is_read_or_malformed(body: bytes) -> None:
    for read in (read_rows, lambda b: read_change(b, now=NOW)):
        with pytest.raises(Malformed):
            read(body)


@given(st.sampled_from(sorted(ROW)), JSON)
def test_any_field_may_be_anything_and_is_named_when_it_is_wrong(field: str, value: Any) -> None:
    try:
        hints = read_rows(dumped({**ROWS, "rows": [{**ROW, field: value}]})).hints
        named = None
    except Malformed as problem:
        hints, named = (), str(problem)
    assert len(hints) == 1 or (named is not None and named.startswith(f"rows.0.{field}: "))


@pytest.mark.parametrize("cut", range(0, len(dumped(ROWS)), 7))
def test_a_body_that_is_cut_short_is_malformed(cut: int) -> None:
    with pytest.raises(Malformed, match="body: Invalid JSON"):
        read_rows(dumped(ROWS)[:cut])


WATCHED = {"public.tickets": Watched("summary", "bulk", ("id",))}
TICKET = {"id": 7, "body": "a user's text", "summary": None}


def table_change(type: str, record: Any, old_record: Any) -> bytes:
    return dumped({"type": type, "schema": "public", "table": "tickets", "record": record, "old_record": old_record})


def test_a_row_of_a_table_that_is_named_is_hinted_at_by_its_key_alone() -> None:
    found = read_change(table_change("INSERT", TICKET, None), now=NOW, tables=WATCHED)
    [hint] = found.hints
    assert reference_in(hint) == RowReference("public.tickets", {"id": 7})
    assert (hint.lane, hint.tenant) == ("bulk", None)
    assert "text" not in repr(found)


@pytest.mark.parametrize(
    ("type", "record", "old_record", "hints"),
    [
        ("UPDATE", TICKET | {"body": "another"}, TICKET, 1),
        ("UPDATE", TICKET | {"summary": "filled by us"}, TICKET, 0),
        ("UPDATE", TICKET, TICKET, 0),
        ("DELETE", None, TICKET, 0),
    ],
)
def test_a_change_of_the_filled_column_alone_and_a_deletion_ask_nothing(
    type: str, record: Any, old_record: Any, hints: int
) -> None:
    found = read_change(table_change(type, record, old_record), now=NOW, tables=WATCHED)
    assert len(found.hints) == hints


def test_a_table_that_is_not_named_and_a_key_that_is_a_text_are_malformed() -> None:
    with pytest.raises(Malformed, match="schema"):
        read_change(table_change("INSERT", TICKET, None), now=NOW, tables={"public.other": WATCHED["public.tickets"]})
    with pytest.raises(Malformed, match=r"record\.id: a key that goes through Redis"):
        read_change(table_change("INSERT", TICKET | {"id": "a@b.c"}, None), now=NOW, tables=WATCHED)
