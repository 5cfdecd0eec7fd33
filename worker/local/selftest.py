"""Before a stack says that it is up: does its gateway run requests as who they come from, and does RLS bite?"""

import json
import time
from http import HTTPStatus
from http.client import HTTPConnection

import psycopg

from worker.local.errors import StackError
from worker.local.wiring import Wiring

# One row that a policy hides and one that it shows, and a function that tells who asks.
PROBE = """
create table public.rowcall_probe (id integer primary key, shown boolean not null);
alter table public.rowcall_probe enable row level security;
create policy shown on public.rowcall_probe for select to anon using (shown);
grant select on public.rowcall_probe to anon;
insert into public.rowcall_probe values (1, true), (2, false);
create function public.rowcall_probe_role() returns json language sql stable as $$
  select json_build_object('role', current_user, 'superuser', rolsuper, 'bypassrls', rolbypassrls)
    from pg_catalog.pg_roles where rolname = current_user $$;
notify pgrst, 'reload schema';
"""
REMOVE_PROBE = """
drop table if exists public.rowcall_probe;
drop function if exists public.rowcall_probe_role();
"""
CATALOGUE_TIMEOUT_S = 10.0
EXPECTED_ROLE = {"role": "anon", "superuser": False, "bypassrls": False}


def check_row_level_security(wiring: Wiring) -> None:
    """StackError unless an anonymous request runs as anon and sees only what a policy shows."""
    with psycopg.connect(wiring.admin_db_url, autocommit=True) as connection:
        connection.execute(REMOVE_PROBE + PROBE)
        try:
            role = ask_until_known(wiring, "rpc/rowcall_probe_role", {})
            rows = ask_until_known(wiring, "rowcall_probe?select=id", None)
        finally:
            connection.execute(REMOVE_PROBE)
    if role != EXPECTED_ROLE:
        raise StackError(f"self-test failed: an anonymous request runs as {role}, expected {EXPECTED_ROLE}")
    if rows != [{"id": 1}]:
        raise StackError(f"self-test failed: row level security does not bite, an anonymous request sees {rows}")


def ask_until_known(wiring: Wiring, path: str, body: object) -> object:
    """Somebody's request may have made the gateway read the catalogue just before the probe was there."""
    deadline = time.monotonic() + CATALOGUE_TIMEOUT_S
    while True:
        status, answer = ask(wiring, path, body)
        if status == HTTPStatus.OK:
            return answer
        if status != HTTPStatus.NOT_FOUND or time.monotonic() > deadline:
            raise StackError(f"self-test failed: an anonymous request for {path} was answered {status}: {answer}")
        time.sleep(0.02)


def ask(wiring: Wiring, path: str, body: object) -> tuple[int, object]:
    connection = HTTPConnection("127.0.0.1", wiring.ports.api, timeout=10)
    headers = {"apikey": wiring.secrets.publishable_key, "content-type": "application/json"}
    try:
        if body is None:
            connection.request("GET", f"/rest/v1/{path}", headers=headers)
        else:
            connection.request("POST", f"/rest/v1/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
