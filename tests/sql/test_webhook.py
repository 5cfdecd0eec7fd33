"""The signed request that an insert sends: its pages, body and signature; and what may go wrong and cost no insert."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.sql.session import Session, jsonb
from tests.sql.verbs import insert, replay, running

URL = "https://intake.example/webhooks/supabase"
SECRET = "signing secret"
QUESTION = jsonb({"question": "why?"})


def keep(sql: Session, **secrets: str | None) -> None:
    """Exactly these of our secrets in the vault; the service asks afterwards."""
    sql.as_postgres()
    for name in ("rowcall_webhook_url", "rowcall_webhook_secret"):
        sql.run("delete from vault.secrets where name = %s", name)
        if (secret := secrets.get(name.removeprefix("rowcall_webhook_"))) is not None:
            sql.run("select vault.create_secret(%s, %s)", secret, name)
    sql.as_service()


def requests(sql: Session) -> list[dict[str, Any]]:
    """What this transaction will send, as pg_net queued it."""
    sql.as_postgres()
    queued = sql.all("select * from net.http_request_queue where url = %s order by id", URL)
    sql.as_service()
    return queued


@contextmanager
def warnings_of(sql: Session) -> Iterator[list[str]]:
    """What Postgres warns of while the block runs."""
    heard: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        heard.append(diagnostic.message_primary or "")

    sql.connection.add_notice_handler(hear)
    try:
        yield heard
    finally:
        sql.connection.remove_notice_handler(hear)


def bodies(sql: Session) -> list[Any]:
    return [json.loads(request["body"]) for request in requests(sql)]


@pytest.fixture
def configured(sql: Session) -> Session:
    keep(sql, url=URL, secret=SECRET)
    return sql


def test_an_insert_sends_hints_and_nothing_of_what_was_asked(configured: Session) -> None:
    sql = configured
    user = sql.new_user(tenant_id="acme")
    sql.as_user(user)
    id = str(sql.value("insert into rowcall.generations (input) values (%s) returning id", QUESTION))
    (request,) = requests(sql)
    assert json.loads(request["body"]) == {
        "type": "INSERT",
        "schema": "rowcall",
        "table": "generations",
        "rows": [{"id": id, "attempt": 0, "kind": "answer", "lane": "interactive", "tenant": "acme"}],
    }
    assert (request["method"], request["timeout_milliseconds"]) == ("POST", 5000)
    assert request["headers"]["Content-Type"] == "application/json"


def test_the_signature_is_over_the_time_and_the_very_bytes_that_are_sent(configured: Session) -> None:
    insert(configured, tenant="Zürich \N{EARTH GLOBE EUROPE-AFRICA}")
    (request,) = requests(configured)
    found = re.fullmatch(r"t=(\d{10}),v1=([0-9a-f]{64})", request["headers"]["X-Rowcall-Signature"])
    assert found is not None
    signed = found[1].encode() + b"." + bytes(request["body"])
    assert hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == found[2]


def test_of_two_secrets_the_first_signs(sql: Session) -> None:
    keep(sql, url=URL, secret=f"{SECRET},the one before")
    insert(sql)
    (request,) = requests(sql)
    stamp, signature = (part.partition("=")[2] for part in request["headers"]["X-Rowcall-Signature"].split(","))
    message = stamp.encode() + b"." + bytes(request["body"])
    assert hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest() == signature


def test_one_statement_is_one_request_in_pages_of_five_hundred(configured: Session) -> None:
    sql = configured
    sql.run("insert into rowcall.generations (input) select %s from generate_series(1, 1201)", QUESTION)
    pages = [body["rows"] for body in bodies(sql)]
    assert [len(page) for page in pages] == [500, 500, 201]
    assert len({hint["id"] for page in pages for hint in page}) == 1201


def test_rows_that_wait_for_later_or_ended_already_send_no_hint(configured: Session) -> None:
    sql = configured
    sql.run("insert into rowcall.generations (input, run_at) values (%s, now() + interval '1 hour')", QUESTION)
    insert(sql, status="canceled")
    assert requests(sql) == []


def test_a_document_s_ingest_is_announced_by_the_same_transaction(configured: Session) -> None:
    sql = configured
    sql.as_user(sql.new_user())
    sql.run("insert into rowcall.documents (content) values ('text')")
    assert [hint["kind"] for body in bodies(sql) for hint in body["rows"]] == ["ingest"]


def test_a_replay_is_announced_with_the_attempt_that_the_claim_will_follow(configured: Session) -> None:
    sql = configured
    id = running(sql)
    sql.run("update rowcall.generations set status = 'failed' where id = %s", id)
    assert replay(sql, id) == [id]
    body = bodies(sql)[-1]
    assert body["type"] == "REPLAY"
    assert [(hint["id"], hint["attempt"]) for hint in body["rows"]] == [(id, 1)]


def test_a_cancel_is_announced_for_the_attempts_that_run_and_for_no_others(configured: Session) -> None:
    sql = configured
    run, queued = running(sql), insert(sql)
    sent = len(bodies(sql))
    sql.run("select rowcall.cancel_generations_v1(array[%s::uuid, %s::uuid])", run, queued)
    [body] = bodies(sql)[sent:]
    assert body["type"] == "CANCEL"
    assert [(hint["id"], hint["attempt"]) for hint in body["rows"]] == [(run, 1)]


def test_an_insert_that_is_rolled_back_sends_nothing(configured: Session) -> None:
    with configured.undone():
        insert(configured)
    assert requests(configured) == []


# What goes wrong costs no insert


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_nothing_is_sent_and_nothing_is_wrong(sql: Session, url: str | None) -> None:
    keep(sql, url=url, secret=SECRET)
    with warnings_of(sql) as warnings:
        insert(sql)
    assert requests(sql) == []
    assert warnings == []


@pytest.mark.parametrize("secret", [None, "", ",old"])
def test_without_a_secret_nothing_is_sent_and_a_warning_says_so(sql: Session, secret: str | None) -> None:
    keep(sql, url=URL, secret=secret)
    with warnings_of(sql) as warnings:
        insert(sql)
    assert requests(sql) == []
    assert "no rowcall_webhook_secret" in warnings[0]


@pytest.mark.parametrize(
    "breakage",
    [
        "alter function net.http_post(text, jsonb, jsonb, jsonb, integer) rename to gone",
        "drop schema net cascade",
        "drop view vault.decrypted_secrets",
        "drop schema vault cascade",
    ],
)
def test_a_broken_webhook_is_a_warning(admin: Session, breakage: str) -> None:
    keep(admin, url=URL, secret=SECRET)
    admin.connection.execute("reset role")
    admin.run(breakage)
    admin.as_service()
    with warnings_of(admin) as warnings:
        insert(admin)
    assert "the sweeper will find the rows" in warnings[0]


def test_no_warning_quotes_the_secret_or_the_row(admin: Session) -> None:
    keep(admin, url=URL, secret=SECRET)
    admin.connection.execute("reset role")
    admin.run("alter function net.http_post(text, jsonb, jsonb, jsonb, integer) rename to gone")
    with warnings_of(admin) as warnings:
        insert(admin, input={"question": "in confidence"})
    assert SECRET not in warnings[0]
    assert "in confidence" not in warnings[0]


# HMAC


@pytest.mark.parametrize(
    ("key", "message", "expected"),
    [  # RFC 4231, test cases 1 and 2: those whose keys are UTF-8
        ("\x0b" * 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ("Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ],
)
def test_hmac_agrees_with_the_vectors_of_rfc_4231(sql: Session, key: str, message: str, expected: str) -> None:
    assert sql.value("select rowcall.hmac_sha256(%s, %s)", message, key) == expected


@pytest.mark.parametrize("key_length", [1, 63, 64, 65, 131, 500])
@pytest.mark.parametrize("letter", ["k", "é", "🌍"])
def test_hmac_agrees_with_python_for_keys_around_the_block_size(sql: Session, key_length: int, letter: str) -> None:
    key, message = letter * key_length, f"Grüße {key_length} \N{EARTH GLOBE ASIA-AUSTRALIA}" * 40
    expected = hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()
    assert sql.value("select rowcall.hmac_sha256(%s, %s)", message, key) == expected
