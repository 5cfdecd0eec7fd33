"""What is SupabaseRows' own: batches, outages, lost replies."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import psycopg
import pytest
from structlog.testing import capture_logs

from jobs.errors import Permanent, Retryable
from jobs.ports import Finished, Opening, Reusable, Work
from tests.worker.adapters.grounds import MODEL, SupabaseGround
from tests.worker.adapters.wire import Wire, be_away, lose_replies, tapped
from worker.adapters.database import Database
from worker.adapters.persisting import Persistence
from worker.adapters.rows import CLAIM_FOR_S, Intervals, SupabaseRows
from worker.local.stack import Stack
from worker.ports import Checkpoint, Closing, Ended, Requeued, Unsettleable

ERROR = {"code": "model.limited", "message": "Too many requests."}


class Pauses:
    """Time for `Persistence`: it passes only by sleeping, and sleeping takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic_s(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def persistence(self, give_up_after_s: float = 60.0) -> Persistence:
        return Persistence(
            give_up_after_s=give_up_after_s, monotonic_s=self.monotonic_s, sleep=self.sleep, chance=lambda: 0.5
        )


@pytest.fixture
def wire(supabase_ground: SupabaseGround) -> Wire:
    return tapped(supabase_ground.database)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def rows(supabase_ground: SupabaseGround, pauses: Pauses) -> SupabaseRows:
    return supabase_ground.rows("a", persistence=pauses.persistence())


async def claimed(rows: SupabaseRows, id: str) -> Work:
    work = await rows.claim(id)
    assert work is not None
    return work


def ended(work: Work, answer: str = "Because.") -> Ended:
    return Ended(work.id, work.attempt, "succeeded", Finished(answer=answer), None, ())


# Batches


async def test_a_hundred_rows_that_end_together_share_few_round_trips(
    supabase_ground: SupabaseGround, wire: Wire
) -> None:
    rows = supabase_ground.rows("a", intervals=Intervals())
    ids = [supabase_ground.insert() for _ in range(100)]
    works = await asyncio.gather(*(claimed(rows, id) for id in ids))
    openings = (rows.open_call(work, Opening("answer", MODEL)) for work in works)
    closings = [
        Closing(id, "succeeded", MODEL, None, 1, tokens_in=n) for n, id in enumerate(await asyncio.gather(*openings))
    ]
    await asyncio.gather(*(rows.checkpoint(Checkpoint(work.id, 1, "Be")) for work in works))
    endings = [
        Ended(work.id, 1, "succeeded", Finished(answer=f"answer {n}"), None, (closings[n],))
        for n, work in enumerate(works)
    ]
    assert await asyncio.gather(*(rows.end(row) for row in endings)) == [True] * 100
    assert max(wire.requests.values()) <= 3
    for n in (0, 41, 99):
        stored = supabase_ground.stored(works[n].id)
        assert (stored.status, stored.answer, stored.tokens_in, stored.partial) == ("succeeded", f"answer {n}", n, "Be")


async def test_under_steady_load_calls_per_row_fall_well_below_one(supabase_ground: SupabaseGround, wire: Wire) -> None:
    rows = supabase_ground.rows("a", intervals=Intervals())
    ids = [supabase_ground.insert() for _ in range(60)]

    async def run(id: str) -> bool:
        return await rows.end(ended(await claimed(rows, id)))

    async with asyncio.TaskGroup() as group:
        for id in ids:
            group.create_task(run(id))
            await asyncio.sleep(0.005)  # arrivals over some intervals; nothing below depends on how many
    assert all(supabase_ground.stored(id).status == "succeeded" for id in ids)
    assert wire.requests["claim_generations_v1"] + wire.requests["finish_generations_v4"] < 60


async def test_a_hint_that_no_row_can_have_spoils_nobody_s_claim(
    rows: SupabaseRows, supabase_ground: SupabaseGround
) -> None:
    ids = [supabase_ground.insert() for _ in range(5)]
    results = await asyncio.gather(*(rows.claim(id) for id in [*ids, "no uuid"]), return_exceptions=True)
    assert isinstance(results.pop(), Permanent)
    assert [work.id for work in results if isinstance(work, Work)] == ids


async def test_a_call_that_the_database_gives_up_on_is_repeated_in_halves(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    works = [await claimed(rows, supabase_ground.insert()) for _ in range(4)]
    refusals = iter([httpx.Response(500, json={"code": "57014", "message": "canceling statement due to timeout"})])
    wire.before = lambda called: next(refusals, None) if called == "finish_generations_v4" else None
    assert await asyncio.gather(*(rows.end(ended(work)) for work in works)) == [True] * 4
    assert wire.requests["finish_generations_v4"] == 3


async def test_an_answer_that_cannot_be_kept_in_the_cache_is_logged_and_counted_and_its_row_finished(
    supabase_ground: SupabaseGround,
) -> None:
    told: list[None] = []
    rows = supabase_ground.rows("a", uncached=lambda: told.append(None))
    work = await claimed(rows, supabase_ground.insert(user_id=supabase_ground.user()))
    reusable = Reusable(
        "scope", "key", "?", np.ones(2, np.float32), "m", (), (), had_examples=False, ttl_s=1, stale_s=1
    )
    finished = Finished(answer="Because.", reusable=reusable)
    with capture_logs() as logs:
        assert await rows.end(Ended(work.id, work.attempt, "succeeded", finished, None, ()))
    assert supabase_ground.stored(work.id).answer == "Because."
    assert logs == [
        {
            "event": "answer.uncached",
            "log_level": "warning",
            "id": work.id,
            "attempt": 1,
            "problem": "the database refused the row (22000)",
        }
    ]
    assert len(told) == 1


async def test_close_sends_what_waits(supabase_ground: SupabaseGround) -> None:
    rows = supabase_ground.rows("a", intervals=Intervals(checkpoint_s=3600.0))
    work = await claimed(rows, supabase_ground.insert())
    await rows.checkpoint(Checkpoint(work.id, 1, "B"))
    second = asyncio.create_task(rows.checkpoint(Checkpoint(work.id, 1, "Be")))
    await asyncio.sleep(0)
    await rows.close()
    assert await second
    assert supabase_ground.stored(work.id).partial == "Be"


# Outages


async def test_an_end_is_tried_again_until_the_database_is_back(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire, pauses: Pauses
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    be_away(wire, times=4)
    assert await rows.end(ended(work))
    assert pauses.slept == [0.1, 0.2, 0.4, 0.8]  # half of the backoff's bound each: chance is 0.5
    assert supabase_ground.stored(work.id).status == "succeeded"


async def test_an_end_gives_up_at_its_deadline(supabase_ground: SupabaseGround, wire: Wire, pauses: Pauses) -> None:
    rows = supabase_ground.rows("a", persistence=pauses.persistence(give_up_after_s=3.0))
    work = await claimed(rows, supabase_ground.insert())
    be_away(wire, times=1000)
    with pytest.raises(Retryable) as unavailable:
        await rows.end(ended(work))
    assert unavailable.value.code == "database.unavailable"
    assert sum(pauses.slept) <= 3.0


async def test_a_server_that_says_how_long_to_wait_is_heeded(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire, pauses: Pauses
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    refusals = iter([httpx.Response(503, headers={"retry-after": "7"})])
    wire.before = lambda _: next(refusals, None)
    assert await rows.end(ended(work))
    assert pauses.slept == [7.0]


async def test_an_accepted_end_whose_reply_was_lost_is_not_reported_as_lost(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    lose_replies(wire, "finish_generations_v4", times=2)
    assert await rows.end(ended(work))
    assert supabase_ground.stored(work.id).outcomes == ("succeeded",)
    assert wire.requests["attempts"] == 1


@pytest.mark.parametrize("verb", ["retry", "release"])
async def test_an_accepted_requeue_whose_reply_was_lost_is_not_reported_as_lost(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire, verb: str
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    lose_replies(wire, f"{verb}_generations_v1", times=1)
    requeued = Requeued(work.id, 1, (), error=ERROR if verb == "retry" else None)
    assert await (rows.retry(requeued) if verb == "retry" else rows.release(requeued))
    assert supabase_ground.stored(work.id).status == "queued"


async def test_an_end_that_was_really_lost_during_an_outage_is_reported_as_lost(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    supabase_ground.end_lease(work.id)
    await claimed(supabase_ground.rows("b"), work.id)
    be_away(wire, times=2)
    assert not await rows.end(ended(work))


async def test_a_claim_is_made_as_soon_as_the_database_is_back(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    id = supabase_ground.insert()
    be_away(wire, times=5)
    work = await claimed(rows, id)
    assert (work.attempt, work.tries) == (1, 1)


async def test_a_claim_that_fails_is_made_again(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    id = supabase_ground.insert()
    refusals = iter([httpx.Response(500), httpx.Response(502), httpx.Response(503)])
    wire.before = lambda called: next(refusals, None) if called == "claim_generations_v1" else None
    assert (await claimed(rows, id)).attempt == 1


async def test_a_claim_gives_up_in_time_for_another_worker(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire, pauses: Pauses
) -> None:
    be_away(wire, times=1000)
    with pytest.raises(Retryable):
        await rows.claim(supabase_ground.insert())
    assert 0 < sum(pauses.slept) <= 2 * CLAIM_FOR_S


async def test_a_claim_whose_reply_was_lost_is_handed_back_and_made_anew_and_uses_up_no_try(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    orphan, held = supabase_ground.insert(), supabase_ground.insert()
    await claimed(rows, held)
    lose_replies(wire, "claim_generations_v1", times=1)
    work = await claimed(rows, orphan)
    assert (work.attempt, work.tries) == (2, 1)
    assert supabase_ground.stored(held).outcomes == (None,)
    assert supabase_ground.stored(orphan).outcomes == ("released", None)
    assert await rows.end(ended(work))


async def test_an_attempt_whose_outcome_was_never_recorded_ends_with_its_lease(
    supabase_ground: SupabaseGround, wire: Wire, pauses: Pauses
) -> None:
    rows = supabase_ground.rows("a", persistence=pauses.persistence(give_up_after_s=0.0))
    work = await claimed(rows, supabase_ground.insert())
    be_away(wire, times=1)
    with pytest.raises(Retryable):
        await rows.end(ended(work))
    supabase_ground.end_lease(work.id)
    assert list(rows.renew()) == []
    assert (await claimed(supabase_ground.rows("b"), work.id)).attempt == 2


# What the row refuses


@pytest.fixture
def strict_answers(supabase_ground: SupabaseGround) -> Iterator[None]:
    """A constraint of the project's own on answers."""
    table = "alter table rowcall.generations"
    supabase_ground._run(f"{table} add constraint test_strict check (answer <> 'forbidden') not valid")
    yield
    supabase_ground._run(f"{table} drop constraint test_strict")


@pytest.mark.usefixtures("strict_answers")
async def test_a_row_that_a_constraint_refuses_says_which_and_the_others_are_settled_in_the_same_call(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    works = [await claimed(rows, supabase_ground.insert()) for _ in range(3)]
    answers = ["fine", "forbidden", "fine"]
    results = await asyncio.gather(
        *(rows.end(ended(work, answer)) for work, answer in zip(works, answers, strict=True)), return_exceptions=True
    )
    assert [results[0], results[2]] == [True, True]
    assert isinstance(results[1], Unsettleable)
    assert "test_strict" in str(results[1])
    assert wire.requests["finish_generations_v4"] == 1


async def test_a_claim_that_its_waiter_gave_up_in_mid_flight_is_handed_back(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    """A worker that stops cancels what it is about to begin."""
    id = supabase_ground.insert()
    sent = asyncio.Event()
    wire.before = lambda _: sent.set()
    claim = asyncio.create_task(rows.claim(id))
    await sent.wait()
    claim.cancel()
    await rows.close()
    assert claim.cancelled()
    stored = supabase_ground.stored(id)
    assert (stored.status, stored.tries, stored.outcomes) == ("queued", 0, ("released",))
    assert list(rows.renew()) == []


async def test_the_calls_of_a_lost_attempt_are_booked_when_the_database_is_back(
    rows: SupabaseRows, supabase_ground: SupabaseGround, wire: Wire
) -> None:
    work = await claimed(rows, supabase_ground.insert())
    assert work.first_call is not None
    be_away(wire, times=3)
    await rows.close_calls([Closing(work.first_call.id, "failed", MODEL, None, 1, tokens_in=9)])
    assert [call.tokens_in for call in supabase_ground.calls(work.id)] == [9]


async def test_rows_of_one_database_are_told_apart_by_worker(
    database: Database, supabase_ground: SupabaseGround
) -> None:
    id = supabase_ground.insert()
    await claimed(supabase_ground.rows("a"), id)
    stranger = SupabaseRows(database, worker="stranger", lease_s=30.0, opens={})
    stranger._held.add((id, 1))  # whatever it believes
    assert list(stranger.renew()) == []


async def test_an_automation_s_locked_row_is_filled_a_little_later(
    supabase_ground: SupabaseGround, stack: Stack
) -> None:
    """Another transaction writes the row; it ends while the write-back waits for its next try."""
    pauses = Pauses()
    with psycopg.connect(stack.db_url, autocommit=True) as setup, psycopg.connect(stack.db_url) as other:
        setup.execute("create table public.test_busy (id bigint primary key, body text, summary text)")
        try:
            setup.execute(
                """create trigger summarize after insert on public.test_busy for each row
                   execute function rowcall.generate('complete', '{{body}}', 'summary')"""
            )
            setup.execute("insert into public.test_busy values (1, 'one')")
            found = setup.execute("select id::text from rowcall.generations where target ->> 'table' = 'test_busy'")
            [(id,)] = found.fetchall()
            other.execute("update public.test_busy set body = 'mine'")

            async def sleep(seconds: float) -> None:
                other.commit()
                await pauses.sleep(seconds)

            persistence = replace(pauses.persistence(), sleep=sleep)
            rows = supabase_ground.rows("a", persistence=persistence)
            assert await rows.end(ended(await claimed(rows, id), "short"))
            assert len(pauses.slept) == 1
            assert setup.execute("select body, summary from public.test_busy").fetchall() == [("mine", "short")]
        finally:
            setup.execute("drop table public.test_busy")
