"""The real clients against the gateway."""

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from postgrest.exceptions import APIError
from pydantic import BaseModel

from tests.clients import client_with, signed_up
from tests.waiting import async_until
from worker.local import node
from worker.local.stack import Stack

NOTES = """
create table public.notes (
  id bigint generated always as identity primary key,
  owner uuid not null default auth.uid() references auth.users (id),
  body text not null,
  written_at timestamptz not null default now());
alter table public.notes enable row level security;
create policy own on public.notes to authenticated
  using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
grant select, insert on public.notes to authenticated;
grant select, update on public.notes to service_role;
create table public.bare (id integer primary key);
create function public.who() returns text language sql stable as 'select current_user::text';
create function public.timeout() returns text language sql as 'select current_setting(''statement_timeout'')';
create function public.request() returns json language sql stable as $$
  select json_build_object(
    'method', current_setting('request.method'), 'path', current_setting('request.path'),
    'header', current_setting('request.headers')::json ->> 'x-colour', 'user', auth.uid(), 'role', auth.role(),
    'claimed', current_setting('request.jwt.claims')::json ->> 'role') $$;
create function public.go_back() returns text language plpgsql as $$
  begin reset role; return (select count(*) from public.notes)::text; end $$;
"""


class Note(BaseModel):
    body: str
    written_at: datetime


@pytest.fixture(scope="module", autouse=True)
def notes(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(NOTES)


async def test_users_of_supabase_py_see_what_is_theirs_and_nothing_else(stack: Stack) -> None:
    async with signed_up(stack) as one, signed_up(stack) as other:
        await one.table("notes").insert({"body": "mine"}).execute()

        written = await one.table("notes").select("body, written_at").single().execute()
        row = Note.model_validate(written.data)
        assert (row.body, row.written_at.utcoffset()) == ("mine", timedelta())
        assert (await other.table("notes").select("*").execute()).data == []


async def test_a_user_cannot_write_a_row_in_the_name_of_another(stack: Stack) -> None:
    async with signed_up(stack) as one, signed_up(stack) as other:
        session = await other.auth.get_session()
        assert session is not None
        stranger = session.user.id
        with pytest.raises(APIError) as refusal:
            await one.table("notes").insert({"body": "forged", "owner": stranger}).execute()
    assert refusal.value.code == "42501"


async def test_a_new_table_gives_nobody_any_right(stack: Stack) -> None:
    for key in (stack.publishable_key, stack.secret_key):
        async with client_with(stack, key) as client:
            with pytest.raises(APIError) as refusal:
                await client.table("bare").select("*").execute()
        assert refusal.value.code == "42501"


async def test_each_key_and_user_runs_as_its_role(stack: Stack) -> None:
    async with client_with(stack, stack.publishable_key) as anyone:
        assert (await anyone.rpc("who").execute()).data == "anon"
    async with client_with(stack, stack.secret_key) as service:
        assert (await service.rpc("who").execute()).data == "service_role"
    async with signed_up(stack) as user:
        assert (await user.rpc("who").execute()).data == "authenticated"


async def test_each_role_has_the_statement_timeout_of_a_hosted_project(stack: Stack) -> None:
    async with client_with(stack, stack.publishable_key) as anyone, signed_up(stack) as user:
        assert (await anyone.rpc("timeout").execute()).data == "3s"
        assert (await user.rpc("timeout").execute()).data == "8s"
    async with client_with(stack, stack.secret_key) as service:
        assert (await service.rpc("timeout").execute()).data == "8s"


def test_a_function_can_read_its_request_and_who_asks(stack: Stack) -> None:
    path = f"{stack.url}/rest/v1/rpc/request"
    answer = httpx.post(path, json={}, headers={"apikey": stack.publishable_key, "x-colour": "blue"})
    assert answer.json() == {
        "method": "POST",
        "path": "/rpc/request",
        "header": "blue",
        "user": None,
        "role": "anon",
        "claimed": "anon",
    }


@pytest.mark.parametrize("headers", [{}, {"apikey": "sb_secret_guessed"}, {"authorization": "Bearer nobody"}])
def test_a_request_without_a_valid_key_is_refused(stack: Stack, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{stack.url}/rest/v1/rpc/who", json={}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/config", "/api/info", "/rest/v2/notes", "/storage/v1/bucket"])
def test_nothing_else_is_served(stack: Stack, path: str) -> None:
    assert httpx.get(stack.url + path, headers={"apikey": stack.secret_key}).status_code == 404


async def test_a_function_that_resets_its_role_may_read_nothing(stack: Stack) -> None:
    async with client_with(stack, stack.secret_key) as service:
        with pytest.raises(APIError) as refusal:
            await service.rpc("go_back").execute()
    assert refusal.value.code == "42501"


async def test_the_gateway_knows_a_table_made_while_it_runs(stack: Stack) -> None:
    async with client_with(stack, stack.publishable_key) as client:
        with pytest.raises(APIError):
            await client.table("later").select("*").execute()
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("create table public.later (id integer); grant select on public.later to anon")

        async def known() -> bool:
            try:
                return (await client.table("later").select("*").execute()).data == []
            except APIError:
                return False

        await async_until(known, "the gateway has read the catalogue again")


def test_supabase_js_signs_up_writes_and_reads_its_own_row(stack: Stack) -> None:
    script = Path(__file__).with_name("clients.mjs")
    run = subprocess.run(
        [node.find_node(), str(script)],
        env=stack.environment() | {"LOCAL_MODULES": str(node.FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"own": ["mine"], "others": [], "updated": ["seen"], "role": "authenticated"}
