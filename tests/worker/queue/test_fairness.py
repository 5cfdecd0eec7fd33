"""Whose job is next: lanes share by weight, tenants take turns, places of a tenant are limited."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from arq.connections import ArqRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.valkey import Valkey
from tests.worker.queue.test_hint_worker import CLAIMING, Runs, until_began, until_empty, working
from worker.ports import Hint
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.queue.link import Link
from worker.queue.scripts import read_script
from worker.queue.wire import QUEUE, hint_in

STEP = read_script("step")


def hints(count: int, tenant: str | None, lane: str = "interactive") -> list[Hint]:
    return [Hint(str(uuid4()), 0, "answer", lane, tenant) for _ in range(count)]


async def given_out(redis: ArqRedis, claims: int, *, places: int = 0, ended: Sequence[Hint] = ()) -> list[Hint]:
    """What one call of a worker gets, in order; `ended` by name of their leases' owner."""
    link = Link(redis, QUEUE)
    arguments: list[str | int] = ["owner", 60_000, claims, places, 4, 1, len(ended)]
    for hint in ended:
        id = f"{hint.id}:{hint.attempt}"
        token = await redis.get(f"arq:in-progress:{id}")
        assert token is not None
        arguments += [id, token.decode(), "done", hint.lane, hint.tenant or "", 1, ""]
    try:
        lost, _, *jobs = await link.call(STEP, arguments)
    finally:
        await link.close()
    assert lost == []
    return [hint_in(job[5]) for job in jobs]


async def test_ten_thousand_rows_of_one_tenant_delay_the_row_of_another_by_one_job(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)
    await queue.enqueue(hints(10_000, "heavy"))
    await given_out(redis, 100)
    [light] = hints(1, "light")
    await queue.enqueue([light])
    assert light in await given_out(redis, 2)


async def test_tenants_take_turns_whatever_they_have_enqueued(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)
    for tenant, count in (("a", 500), ("b", 50), ("c", 5), (None, 20)):
        await queue.enqueue(hints(count, tenant))
    served = [hint.tenant for _ in range(20) for hint in await given_out(redis, 1)]
    assert Counter(served) == {"a": 5, "b": 5, "c": 5, None: 5}
    assert Counter(hint.tenant for hint in await given_out(redis, 30)) == {"a": 10, "b": 10, None: 10}


async def test_who_enqueues_one_row_after_the_other_gets_no_more_than_a_turn(redis: ArqRedis) -> None:
    """Coming anew must not mean coming first, again and again."""
    queue = ArqQueue(redis)
    await queue.enqueue(hints(100, "patient"))
    served: list[str | None] = []
    for _ in range(20):
        await queue.enqueue(hints(1, "another"))
        served += [hint.tenant for hint in await given_out(redis, 1)]
    assert 9 <= served.count("patient") <= 11


async def test_one_tenants_rows_keep_their_order(redis: ArqRedis) -> None:
    ours = hints(300, "a")
    await ArqQueue(redis).enqueue(ours)
    await ArqQueue(redis).enqueue(hints(300, "b"))
    served = [hint for _ in range(6) for hint in await given_out(redis, 100) if hint.tenant == "a"]
    assert served == ours


async def test_lanes_share_the_places_by_their_weights(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)
    await queue.enqueue(hints(500, "a", "bulk"))
    await queue.enqueue(hints(500, "a"))
    assert Counter(hint.lane for hint in await given_out(redis, 100)) == {"interactive": 80, "bulk": 20}
    one_by_one = [hint.lane for _ in range(50) for hint in await given_out(redis, 1)]
    assert 9 <= one_by_one.count("bulk") <= 11


async def test_an_empty_lane_leaves_its_share_to_the_other_and_saves_nothing_up(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)
    await queue.enqueue(hints(300, "a", "bulk"))
    assert len(await given_out(redis, 200)) == 200
    await queue.enqueue(hints(300, "b"))
    assert 9 <= [hint.lane for hint in await given_out(redis, 50)].count("bulk") <= 11


async def test_an_unknown_lane_is_served_with_the_bulk(redis: ArqRedis) -> None:
    [stray] = hints(1, "a", "express")
    await ArqQueue(redis).enqueue([stray])
    assert await given_out(redis, 5) == [stray]


async def test_no_more_of_a_tenant_run_at_once_than_it_has_places_in_the_whole_fleet(
    redis: ArqRedis, server: Valkey
) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue(hints(10, "a"))
    claiming = replace(CLAIMING, tenant_places=3)
    async with connected(server.url) as another, working(redis, runs, claiming), working(another, runs, claiming):
        await until_began(runs, 3)
        await queue.enqueue(hints(2, "b"))
        await until_began(runs, 5)
        await asyncio.sleep(0.1)
        assert Counter(hint.tenant for hint in runs.began) == {"a": 3, "b": 2}
        runs.go_on.set()
        await until_empty(queue)
    assert len(runs.ended) == 12


async def test_a_place_is_free_when_its_job_has_ended_and_goes_to_the_next_of_the_tenant(redis: ArqRedis) -> None:
    queue, ours = ArqQueue(redis), hints(5, "a")
    await queue.enqueue(ours)
    assert await given_out(redis, 10, places=2) == ours[:2]
    assert await given_out(redis, 10, places=2) == []
    assert await given_out(redis, 10, places=2, ended=ours[:1]) == ours[2:3]
    assert await given_out(redis, 10, places=2, ended=ours[1:3]) == ours[3:]


async def test_places_of_a_worker_that_died_are_free_when_its_leases_end(redis: ArqRedis) -> None:
    queue, ours = ArqQueue(redis), hints(3, "a")
    await queue.enqueue(ours)
    assert await given_out(redis, 10, places=2) == ours[:2]
    assert await given_out(redis, 10, places=2) == []
    for hint in ours[:2]:  # an hour later
        await redis.delete(f"arq:in-progress:{hint.id}:0")
        await redis.zadd(QUEUE, {f"{hint.id}:0": 1})
        await redis.zadd(f"{QUEUE}:places:a", {f"{hint.id}:0": 1})
    await redis.zadd(f"{QUEUE}:full:interactive", {"a": 1})
    again = await given_out(redis, 10, places=2)
    assert {hint.id for hint in again} == {hint.id for hint in ours[:2]}


async def test_lines_that_were_lost_are_made_again(redis: ArqRedis) -> None:
    ours = hints(5, "a")
    await ArqQueue(redis).enqueue(ours)
    await redis.delete(*await redis.keys(f"{QUEUE}:*"))
    assert await given_out(redis, 10) == []
    assert set(await given_out(redis, 10)) == set(ours)


async def test_the_backlog_tells_depth_age_and_jobs_in_flight_of_each_lane(redis: ArqRedis) -> None:
    queue = ArqQueue(redis)
    await queue.enqueue(hints(7, "a"))
    await queue.enqueue(hints(3, "b", "bulk"))
    await queue.enqueue(hints(2, "b"), wait_s=3600.0)
    running = await given_out(redis, 5)
    count = redis.register_script(read_script("count").text)
    await count(keys=[QUEUE], args=["w1", 3, 0])
    assert await count(keys=[QUEUE], args=["w2", 1, 1]) == [4, 1]
    await redis.hset(f"{QUEUE}:workers", "dead", "1:50:50")  # type: ignore[misc] # redis-py types it for both worlds
    await asyncio.sleep(0.02)
    backlog = await queue.backlog()
    interactive, bulk = backlog.lanes
    assert backlog.scheduled == 2
    assert (interactive.lane, interactive.waiting, interactive.running) == ("interactive", 3, 4)
    assert (bulk.lane, bulk.waiting, bulk.running) == ("bulk", 2, 1)
    assert 0.02 <= interactive.oldest_s < 30.0
    assert (interactive.mean_job_s, interactive.work_s) == (None, 0.0)
    await given_out(redis, 0, ended=running)
    await count(keys=[QUEUE], args=["w1", 0, 0])
    await count(keys=[QUEUE], args=["w2", 0, 0])
    interactive = (await queue.backlog()).lanes[0]
    assert (interactive.waiting, interactive.running, interactive.mean_job_s) == (3, 0, 0.001)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    backlogs=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    claims=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_no_tenant_is_ever_more_than_a_turn_ahead_of_one_that_waits(
    server: Valkey, backlogs: list[int], claims: list[int]
) -> None:
    async def check() -> None:
        async with connected(server.url) as redis:
            await redis.flushall()
            for number, count in enumerate(backlogs):
                await ArqQueue(redis).enqueue(hints(count, str(number)))
            served: Counter[str | None] = Counter()
            for claim in claims:
                served.update(hint.tenant for hint in await given_out(redis, claim))
                waiting = [str(n) for n, count in enumerate(backlogs) if served[str(n)] < count]
                assert all(served[one] - served[other] <= 1 for other in waiting for one in served | Counter(waiting))
            assert sum(served.values()) == min(sum(claims), sum(backlogs))

    asyncio.run(check())
