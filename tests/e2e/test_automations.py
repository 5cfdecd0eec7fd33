"""Fill a column when a row appears: a client's own rows, a trigger, real workers, and the client reads the column."""

import json
from collections.abc import Awaitable, Callable, Iterator
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


REVIEWS = """
create table public.reviews (
  id uuid primary key default gen_random_uuid(), user_id uuid not null default auth.uid(), body text, summary text);
alter table public.reviews enable row level security;
grant select, insert (body), update (body) on public.reviews to authenticated;
create policy "own reviews" on public.reviews to authenticated
  using (user_id = auth.uid()) with check (user_id = auth.uid());
"""


async def test_a_webhook_made_in_the_dashboard_fills_the_column_of_a_table_that_the_configuration_names(
    rowcall_stack: Stack, rowcall: Rowcall
) -> None:
    """As the dashboard makes one: `supabase_functions.http_request` on the table, with the secret in a header."""
    secret = rowcall_stack.environment()["ROWCALL_WEBHOOK_SECRET"]
    headers = json.dumps({"Content-Type": "application/json", "x-rowcall-secret": secret})
    url = f"{rowcall_stack.intake_url}/webhooks/supabase"
    table = rowcall.supabase.table("reviews")
    with psycopg.connect(rowcall_stack.db_url, autocommit=True) as connection:
        connection.execute(REVIEWS)
        try:
            connection.execute(
                f"""create trigger summarize after insert or update or delete on public.reviews for each row
                    execute function supabase_functions.http_request('{url}', 'POST', '{headers}', '{{}}', '5000')"""
            )

            async def summary() -> str:
                found: Any = (await table.select("summary").execute()).data
                return str(found[0]["summary"])

            await table.insert({"body": "The coconut was delivered by a swallow."}).execute()
            await async_until_in(summary, "The coconut was delivered")
            await table.update({"body": "The second one never came."}).neq("body", "").execute()
            await async_until_in(summary, "The second one never came")
            made = connection.execute(
                "select status, user_id::text from rowcall.generations where target ->> 'table' = 'reviews'"
            ).fetchall()
            session = await rowcall.supabase.auth.get_session()
            assert session is not None
            assert made == [("succeeded", session.user.id)] * 2  # our own fills have asked nothing
        finally:
            connection.execute("drop table public.reviews")


async def async_until_in(read: Callable[[], Awaitable[str]], text: str) -> None:
    async def holds() -> bool:
        return text in await read()

    await async_until(holds, f"{text!r} is read")
