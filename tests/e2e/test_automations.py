"""Fill a column when a row appears: a client's own rows, a trigger, real workers, and the client reads the column."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgrest import CountMethod

from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.stack import Stack

ROWS = 1000

TABLE = """
create table public.tickets (
  id bigint generated always as identity primary key,
  user_id uuid not null default auth.uid(), body text, summary text);
alter table public.tickets enable row level security;
grant select, insert (body) on public.tickets to authenticated;
create policy "own tickets" on public.tickets to authenticated
  using (user_id = auth.uid()) with check (user_id = auth.uid());
create trigger summarize after insert or update of body on public.tickets for each row when (new.body <> '')
  execute function rowcall.generate('complete', 'Summarize in one sentence: {{body}}', 'summary');
"""


@pytest.fixture
def tickets(rowcall_stack: Stack) -> Iterator[None]:
    with psycopg.connect(rowcall_stack.db_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield
        connection.execute("drop table public.tickets")


@pytest.mark.usefixtures("tickets")
@pytest.mark.timeout(240)
async def test_a_thousand_rows_inserted_at_once_end_as_a_thousand_filled_columns(
    rowcall_stack: Stack, rowcall: Rowcall
) -> None:
    table = rowcall.supabase.table("tickets")
    bodies = [{"body": f"Ticket {n}: the swallow dropped coconut number {n}."} for n in range(ROWS)]
    await table.insert(bodies).execute()

    async def all_filled() -> bool:
        unfilled: Any = await table.select("id", count=CountMethod.exact).is_("summary", "null").limit(1).execute()
        return bool(unfilled.count == 0)

    await async_until(all_filled, "every summary is filled", deadline_s=200, look_every_s=1)
    filled: Any = (await table.select("body, summary").limit(2 * ROWS).execute()).data
    assert len(filled) == ROWS
    assert all(row["body"] in row["summary"] for row in filled)
    with psycopg.connect(rowcall_stack.admin_db_url) as connection:
        found = connection.execute(
            """select status, attempt, error, user_id::text from rowcall.generations
               where target ->> 'table' = 'tickets' group by 1, 2, 3, 4"""
        ).fetchall()
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    assert found == [("succeeded", 1, None, session.user.id)]  # each asked once, in its owner's name
