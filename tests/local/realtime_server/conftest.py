from collections.abc import Iterator

import psycopg
import pytest

from worker.local import parts
from worker.local.stack import Stack

TABLES = """
create table public.rt_notes (
  id bigint generated always as identity primary key,
  owner uuid not null default auth.uid(),
  body text,
  amount numeric,
  secret text not null default 'not for clients',
  long text);
alter table public.rt_notes alter column long set storage external;
alter table public.rt_notes enable row level security;
create policy own on public.rt_notes to authenticated
  using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
grant select (id, owner, body, amount, long), insert, update, delete on public.rt_notes to authenticated;
grant all on public.rt_notes to service_role;

create table public.rt_open (id integer primary key, label text);
grant select on public.rt_open to anon, authenticated;

create table public.rt_keyless (label text);
alter table public.rt_keyless replica identity full;
grant select on public.rt_keyless to anon;

create table public.rt_blind (id integer primary key, label text);
grant select (label) on public.rt_blind to anon;

create table public.rt_fussy (id integer primary key, divisor integer);
alter table public.rt_fussy enable row level security;
create policy fussy on public.rt_fussy for select to anon using (1 / divisor > 0);
grant select on public.rt_fussy to anon;

create table public.rt_full (id integer primary key, label text, long text);
alter table public.rt_full replica identity full;
alter table public.rt_full enable row level security;
alter table public.rt_full alter column long set storage external;
create policy everyone on public.rt_full for select to anon using (true);
grant select on public.rt_full to anon;

alter publication supabase_realtime add table
  public.rt_notes, public.rt_open, public.rt_keyless, public.rt_blind, public.rt_fussy, public.rt_full;
create table public.rt_unpublished (id integer primary key);
grant select on public.rt_unpublished to anon;

create policy "room:open is for everyone" on realtime.messages for select to anon, authenticated
  using (realtime.topic() = 'room:open');
create policy "own room" on realtime.messages for select to authenticated
  using (realtime.topic() = 'own:' || (select auth.uid())::text);
create policy "writers" on realtime.messages for insert to authenticated
  with check (realtime.topic() = 'own:' || (select auth.uid())::text and extension = 'broadcast');
create policy "a policy that fails" on realtime.messages for select to anon
  using (case when realtime.topic() = 'broken' then 1 / (length(realtime.topic()) - 6) > 0 end);
"""


@pytest.fixture(scope="session", autouse=True)
def realtime(stack: Stack) -> None:
    """The shared stack with the Realtime server, and tables to watch."""
    if "realtime" not in stack.running:
        stack._start_part(parts.realtime(stack.wiring))
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(TABLES)


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    """As postgres; each statement is committed at once."""
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def restored(stack: Stack) -> Iterator[None]:
    """Starts again what a test has stopped: the stack is shared."""
    yield
    for part in ("postgres", "realtime"):
        if part not in stack.running:
            stack.start(part)
