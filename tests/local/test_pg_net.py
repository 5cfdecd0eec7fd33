"""Requests that leave the database: pg_net's functions and the Database Webhooks on them."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest

from tests.waiting import until
from worker.local.stack import Stack


@dataclass(slots=True)
class Receiver:
    url: str
    status: int = 200
    location: str | None = None
    pause_s: float = 0
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def received(self, count: int) -> list[bytes]:
        until(lambda: len(self.bodies) >= count, f"{count} requests have arrived")
        return self.bodies


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    receiver: Receiver


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        receiver = self.server.receiver
        receiver.paths.append(f"{self.command} {self.path}")
        receiver.bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
        time.sleep(receiver.pause_s)
        redirected = receiver.location is not None and self.path != receiver.location
        self.send_response(receiver.status if redirected or receiver.location is None else 200)
        if redirected:
            self.send_header("location", receiver.location or "")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - names of http.server

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def orders(stack: Stack, receiver: Receiver) -> Iterator[psycopg.Connection]:
    """A table whose changes are posted to the receiver, and a connection to write it with."""
    with psycopg.connect(stack.db_url) as connection:
        connection.execute("create table public.orders (id integer primary key, note text)")
        connection.execute(
            "create trigger posted after insert or update or delete on public.orders for each row "
            f"execute function supabase_functions.http_request('{receiver.url}', 'POST', 'null', 'null', '5000')"
        )
        connection.commit()
        yield connection
        connection.rollback()
        connection.execute("drop table public.orders")


def test_a_webhook_carries_the_row_as_a_hosted_projects_does(orders: psycopg.Connection, receiver: Receiver) -> None:
    for statement in ("insert into orders values (1, 'a')", "update orders set note = 'b'", "delete from orders"):
        orders.execute(statement)
        orders.commit()
    new, old = {"id": 1, "note": "b"}, {"id": 1, "note": "a"}
    expected = [("INSERT", old, None), ("UPDATE", new, old), ("DELETE", None, new)]
    received = sorted((json.loads(body) for body in receiver.received(3)), key=lambda body: body["type"])
    assert received == [
        {"type": kind, "table": "orders", "schema": "public", "record": record, "old_record": old_record}
        for kind, record, old_record in sorted(expected, key=lambda change: change[0])
    ]


def test_a_request_leaves_after_the_commit_and_not_before(orders: psycopg.Connection, receiver: Receiver) -> None:
    orders.execute("insert into orders values (1, 'uncommitted')")
    witness(orders, receiver)
    assert len(receiver.bodies) == 1
    orders.commit()
    assert json.loads(receiver.received(2)[1])["record"] == {"id": 1, "note": "uncommitted"}


def test_a_rolled_back_statement_sends_nothing(orders: psycopg.Connection, receiver: Receiver) -> None:
    orders.execute("insert into orders values (1, 'undone')")
    orders.rollback()
    witness(orders, receiver)
    assert [path for path in receiver.paths if path.startswith("POST")] == []


def witness(orders: psycopg.Connection, receiver: Receiver) -> None:
    """A request of another connection, seen to arrive: what was to come before it has come."""
    with psycopg.connect(orders.info.dsn, password=orders.info.password) as other:
        other.execute("select net.http_get(%s)", (f"{receiver.url}?witness",))
    until(lambda: "GET /hook?witness" in receiver.paths, "the witness has arrived")


def test_2000_rows_of_one_statement_all_arrive_once(orders: psycopg.Connection, receiver: Receiver) -> None:
    orders.execute("insert into orders select n, 'many' from generate_series(1, 2000) n")
    orders.commit()
    received = [json.loads(body)["record"]["id"] for body in receiver.received(2000)]
    assert sorted(received) == list(range(1, 2001))


def test_a_refused_request_is_recorded_and_not_repeated(
    orders: psycopg.Connection, receiver: Receiver, stack: Stack
) -> None:
    receiver.status = 500
    orders.execute("insert into orders values (1, 'refused')")
    orders.commit()
    receiver.received(1)
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        until(lambda: 500 in statuses(connection), "the response is recorded")
        assert connection.execute("select count(*) from net.http_request_queue").fetchone() == (0,)
    witness(orders, receiver)
    assert len([path for path in receiver.paths if path.startswith("POST")]) == 1


def statuses(connection: psycopg.Connection) -> list[int | None]:
    return [row[0] for row in connection.execute("select status_code from net._http_response").fetchall()]


def test_requests_queued_while_the_drain_is_away_leave_when_it_is_back(
    orders: psycopg.Connection, receiver: Receiver, stack: Stack
) -> None:
    stack.stop("pg_net")
    orders.execute("insert into orders values (1, 'waiting')")
    orders.commit()
    stack.start("pg_net")
    assert json.loads(receiver.received(1)[0])["record"]["note"] == "waiting"


def test_parameters_are_encoded_and_a_dead_receiver_is_an_error_in_the_record(
    orders: psycopg.Connection, receiver: Receiver
) -> None:
    orders.execute("select net.http_get(%s, params := %s)", (receiver.url, json.dumps({"a b": "ü&1"})))
    orders.commit()
    receiver.received(1)
    assert receiver.paths == ["GET /hook?a%20b=%C3%BC%261"]

    row = orders.execute("select net.http_get('http://127.0.0.1:1/')").fetchone()
    orders.commit()
    assert row is not None

    def error() -> str | None:
        found = orders.execute("select error_msg from net._http_response where id = %s", row).fetchone()
        orders.commit()
        return None if found is None else found[0]

    until(lambda: error() is not None, "the failure is recorded")
    assert "ECONNREFUSED" in (error() or "")


def test_a_slow_receiver_is_given_up_after_the_timeout_of_its_request(
    orders: psycopg.Connection, receiver: Receiver
) -> None:
    receiver.pause_s = 5
    row = orders.execute("select net.http_post(%s, timeout_milliseconds := 50)", (receiver.url,)).fetchone()
    orders.commit()

    def timed_out() -> bool:
        found = orders.execute("select timed_out from net._http_response where id = %s", row).fetchone()
        orders.commit()
        return found == (True,)

    until(timed_out, "the timeout is recorded")


def test_a_redirect_is_followed_without_the_body(orders: psycopg.Connection, receiver: Receiver) -> None:
    receiver.status, receiver.location = 302, "/elsewhere"
    orders.execute("""select net.http_post(%s, body := '{"a": 1}')""", (receiver.url,))
    orders.commit()
    assert receiver.received(2)[1] == b""
    assert receiver.paths == ["POST /hook", "GET /elsewhere"]


def test_only_json_may_be_posted(orders: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="application/json"):
        orders.execute("""select net.http_post('http://127.0.0.1:1/', headers := '{"content-type": "text/plain"}')""")


def test_the_vault_tells_postgres_where_rowcalls_webhook_goes(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        kept = connection.execute(
            "select name, decrypted_secret from vault.decrypted_secrets where name like 'rowcall_%' order by name"
        ).fetchall()
    assert kept == [
        ("rowcall_webhook_secret", stack.environment()["ROWCALL_WEBHOOK_SECRET"]),
        ("rowcall_webhook_url", f"{stack.intake_url}/webhooks/supabase"),
    ]
