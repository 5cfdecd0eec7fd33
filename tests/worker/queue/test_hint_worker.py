import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, async_check_health
from structlog.testing import capture_logs

from tests.valkey import Valkey
from tests.waiting import async_until
from tests.worker.queue_contract import hint
from worker.ports import Hint, NotClaimed
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import UnsafeRedis, connected
from worker.queue.hint_worker import Claiming, HintWorker
from worker.queue.stock import job_function
from worker.queue.wire import QUEUE, job_id, loads
from worker.telemetry import Metrics

CLAIMING = Claiming(max_jobs=10, grace_s=30.0)


@dataclass(slots=True)
class Runs:
    """What a worker was given to run. While `hold` is set, runs wait until `go_on` is, or they are canceled."""

    began: list[Hint] = field(default_factory=list)
    ended: list[Hint] = field(default_factory=list)
    canceled: list[Hint] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    hold: bool = False
    unclaimed: int = 0  # so many begin, and the database does not answer them
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, hint: Hint) -> None:
        self.began.append(hint)
        if len(self.began) <= self.unclaimed:
            raise NotClaimed
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold:
                await self.go_on.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # the release of the row
            self.canceled.append(hint)
            raise
        finally:
            self.at_once -= 1
        self.ended.append(hint)


@asynccontextmanager
async def working(redis: ArqRedis, runs: Runs, claiming: Claiming = CLAIMING) -> AsyncIterator[asyncio.Event]:
    """A worker during the block, and the event that stops it. Its failure is the block's."""
    stop = asyncio.Event()
    task = asyncio.create_task(HintWorker(redis, runs.run, claiming, Metrics()).work(stop))
    try:
        yield stop
    finally:
        stop.set()
        runs.go_on.set()
        await task


async def until_began(runs: Runs, count: int) -> None:
    async def have_begun() -> bool:
        return len(runs.began) >= count

    await async_until(have_begun, f"{count} hints have begun")


async def until_empty(queue: ArqQueue) -> None:
    async def is_empty() -> bool:
        return await queue.depth() == 0

    await async_until(is_empty, "the queue is empty")


KEPT = {
    f"{QUEUE}:{name}".encode() for name in ("health-check", "lanes", "wake", "workers")
}  # whatever ran, and how much


async def test_every_hint_runs_once_and_leaves_nothing_in_redis(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs()
    hints = [hint(attempt=n) for n in range(100)]
    async with working(redis, runs):
        await queue.enqueue(hints)
        await until_empty(queue)
    assert sorted(runs.ended, key=lambda h: h.attempt) == hints
    assert set(await redis.keys("*")) <= KEPT


async def test_no_more_jobs_run_at_once_than_there_are_places(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue([hint() for _ in range(30)])
    async with working(redis, runs, replace(CLAIMING, max_jobs=3)):
        await until_began(runs, 3)
        runs.go_on.set()
        await until_empty(queue)
    assert runs.most_at_once == 3


async def test_two_workers_share_the_queue_though_the_first_holds_its_head(redis: ArqRedis) -> None:
    queue, busy, free = ArqQueue(redis), Runs(hold=True), Runs()
    await queue.enqueue([hint() for _ in range(10)])
    async with working(redis, busy):
        await until_began(busy, 10)
        await queue.enqueue([hint() for _ in range(20)])
        async with working(redis, free, replace(CLAIMING, max_jobs=2)):
            await until_began(free, 20)
    assert (len(busy.began), len(free.began)) == (10, 20)


async def test_two_workers_at_one_queue_run_nothing_twice(redis: ArqRedis, server: Valkey) -> None:
    queue, runs = ArqQueue(redis), Runs()
    async with connected(server.url) as another, working(redis, runs), working(another, runs):
        for _ in range(20):
            await queue.enqueue([hint() for _ in range(25)])
        await until_empty(queue)
    assert len(runs.ended) == len({h.id for h in runs.ended}) == 500


async def test_our_worker_and_arqs_own_share_a_queue(redis: ArqRedis, server: Valkey) -> None:
    queue, ours, theirs = ArqQueue(redis), Runs(), Runs()
    async with connected(server.url) as another, working(redis, ours, replace(CLAIMING, max_jobs=1)):
        while not theirs.ended or not ours.ended:
            await queue.enqueue([hint() for _ in range(25)])
            stock = Worker(
                [job_function(theirs.run)],
                queue_name=QUEUE,
                redis_pool=another,
                burst=True,  # until the queue is empty
                poll_delay=0.01,
                handle_signals=False,
                job_deserializer=loads,
            )
            await stock.main()
    ran = [h.id for h in (*ours.ended, *theirs.ended)]
    assert len(ran) == len(set(ran))


async def test_a_hint_that_must_wait_runs_when_it_is_due(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs()
    first, second = hint(), hint()
    await queue.enqueue([second], wait_s=0.2)
    await queue.enqueue([first])
    async with working(redis, runs):
        await until_began(runs, 2)
    assert runs.began == [first, second]


async def test_a_job_whose_lease_redis_forgot_is_not_run_twice_by_its_worker(redis: ArqRedis) -> None:
    queue, runs, ours = ArqQueue(redis), Runs(hold=True), hint()
    await queue.enqueue([ours])
    async with working(redis, runs):
        await until_began(runs, 1)
        await redis.delete(f"arq:in-progress:{job_id(ours)}")
        await redis.zadd(QUEUE, {job_id(ours): 1})

        async def is_leased() -> bool:
            return bool(await redis.exists(f"arq:in-progress:{job_id(ours)}") == 1)

        await async_until(is_leased, "the job was given out again")
        runs.go_on.set()
        await until_empty(queue)
    assert (len(runs.began), len(runs.ended)) == (1, 1)


async def test_a_job_is_renewed_for_as_long_as_it_runs(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue([hint()])
    async with working(redis, runs, replace(CLAIMING, lease_s=0.3)), working(redis, runs):
        await until_began(runs, 1)
        await asyncio.sleep(0.9)
        assert len(runs.began) == 1
        runs.go_on.set()
        await until_empty(queue)


async def test_a_job_of_arqs_that_is_no_hint_is_reported_and_removed(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs()
    await redis.enqueue_job("run_generation", "not", "a hint")
    with capture_logs() as logs:
        async with working(redis, runs):
            await until_empty(queue)
    assert [(e["event"], e["log_level"]) for e in logs if e["event"] == "hint.unreadable"] == [
        ("hint.unreadable", "error")
    ]


# Stopping


async def test_a_worker_that_stops_finishes_what_runs_and_takes_no_more(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue([hint()])
    with capture_logs() as logs:
        async with working(redis, runs) as stop:
            await until_began(runs, 1)
            stop.set()

            async def is_draining() -> bool:
                return any(e["event"] == "worker.draining" for e in logs)

            await async_until(is_draining, "the worker drains")
            await queue.enqueue([hint()])
    assert (len(runs.began), len(runs.ended), len(runs.canceled)) == (1, 1, 0)
    assert await queue.depth() == 1


async def test_what_is_not_done_after_the_grace_period_is_canceled_and_may_settle(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue([hint(), hint()])
    stop = asyncio.Event()
    task = asyncio.create_task(HintWorker(redis, runs.run, replace(CLAIMING, grace_s=0.05), Metrics()).work(stop))
    await until_began(runs, 2)
    stop.set()
    await task
    assert len(runs.canceled) == 2
    again = Runs()  # the hints stay: another worker may have the rows at once
    async with working(redis, again):
        await until_began(again, 2)


async def test_a_worker_that_is_canceled_lets_its_jobs_settle_first(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    await queue.enqueue([hint()])
    task = asyncio.create_task(HintWorker(redis, runs.run, CLAIMING, Metrics()).work(asyncio.Event()))
    await until_began(runs, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(runs.canceled) == 1


async def test_a_worker_that_stops_while_redis_is_away_stops(mortal: Valkey) -> None:
    async with connected(mortal.url) as redis:
        with capture_logs() as logs:
            async with working(redis, Runs()):
                mortal.kill()
                await until_logged(logs, "queue.unreachable")


# Outages


async def until_logged(logs: Any, event: str) -> None:
    async def is_logged() -> bool:
        return any(entry["event"] == event for entry in logs)

    await async_until(is_logged, event)


async def all_ended(runs: Runs, count: int) -> bool:
    return len(runs.ended) == count


async def test_jobs_outlive_a_restart_of_redis_and_new_ones_follow(mortal: Valkey) -> None:
    async with connected(mortal.url) as redis:
        queue, runs = ArqQueue(redis), Runs(hold=True)
        await queue.enqueue([hint() for _ in range(3)])
        with capture_logs() as logs:
            async with working(redis, runs, replace(CLAIMING, lease_s=0.5)):
                await until_began(runs, 3)
                mortal.kill()
                await until_logged(logs, "queue.unreachable")
                runs.go_on.set()  # they end while Redis is away
                await async_until(lambda: all_ended(runs, 3), "all have ended")
                mortal.start()
                await until_logged(logs, "queue.reconnected")
                last = hint()
                await queue.enqueue([last])
                await until_empty(queue)
        assert len(runs.canceled) == 0
        assert last in runs.ended
        assert [e["event"] for e in logs].count("queue.unreachable") == 1
        assert [e["event"] for e in logs].count("queue.reconnected") == 1


async def test_a_worker_waits_for_a_redis_that_starts_later_than_it(mortal: Valkey) -> None:
    mortal.kill()
    async with connected(mortal.url) as redis:
        runs = Runs()
        with capture_logs() as logs:
            async with working(redis, runs):
                await until_logged(logs, "queue.unreachable")
                mortal.start()
                await until_logged(logs, "queue.reconnected")
                await ArqQueue(redis).enqueue([hint()])
                await until_began(runs, 1)


async def test_connections_that_break_again_and_again_cost_no_places(redis: ArqRedis, server: Valkey) -> None:
    queue, runs = ArqQueue(redis), Runs()
    async with connected(server.url) as another, working(redis, runs, replace(CLAIMING, max_jobs=2, lease_s=0.2)):
        for _ in range(15):
            await ArqQueue(another).enqueue([hint()])
            await another.execute_command("CLIENT", "KILL", "TYPE", "NORMAL")  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.01)
        await until_empty(queue)
        assert len({h.id for h in runs.ended}) == 15
        runs.hold, began = True, len(runs.began)
        await ArqQueue(another).enqueue([hint(), hint()])
        await until_began(runs, began + 2)
        assert runs.at_once == 2


HANG = """
import asyncio, sys
from worker.queue.connecting import connected
from worker.queue.hint_worker import Claiming, HintWorker
from worker.telemetry import Metrics

async def run(hint):
    print(hint.id, flush=True)
    await asyncio.Event().wait()

async def main():
    async with connected(sys.argv[1]) as redis:
        claiming = Claiming(max_jobs=1, grace_s=0, lease_s=0.5)
        await HintWorker(redis, run, claiming, Metrics()).work(asyncio.Event())

asyncio.run(main())
"""


async def test_the_hint_of_a_process_that_was_killed_is_given_out_again(redis: ArqRedis, server: Valkey) -> None:
    queue, runs, ours = ArqQueue(redis), Runs(), hint()
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANG, server.url, stdout=asyncio.subprocess.PIPE
    )
    try:
        await queue.enqueue([ours])
        assert doomed.stdout is not None
        assert (await doomed.stdout.readline()).decode().strip() == ours.id
    finally:
        os.kill(doomed.pid, signal.SIGKILL)
        await doomed.wait()
    async with working(redis, runs):
        await until_began(runs, 1)
    assert runs.ended == [ours]


# Settings of the server


async def test_a_server_that_evicts_keys_is_refused_with_the_setting_that_is_wrong(redis: ArqRedis) -> None:
    await redis.config_set("maxmemory-policy", "volatile-lru")
    try:
        with pytest.raises(UnsafeRedis, match=r"'volatile-lru'.*'noeviction'"):
            await HintWorker(redis, Runs().run, CLAIMING, Metrics()).work(asyncio.Event())
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_forgets_on_restart_is_worth_a_warning(redis: ArqRedis) -> None:
    await redis.config_set("appendonly", "no")
    try:
        with capture_logs() as logs:
            async with working(redis, Runs()):
                await until_logged(logs, "queue.volatile")
    finally:
        await redis.config_set("appendonly", "yes")


async def test_a_worker_shows_that_it_is_alive_where_arq_looks(redis: ArqRedis, server: Valkey) -> None:
    settings = RedisSettings.from_dsn(server.url)

    async def is_shown() -> bool:
        with pytest.warns(DeprecationWarning, match="aclose"):  # arq's use of redis-py
            return await async_check_health(settings, queue_name=QUEUE) == 0

    assert not await is_shown()
    async with working(redis, Runs()):
        await async_until(is_shown, "arq --check finds the worker")


async def test_a_hint_whose_row_could_not_be_claimed_goes_back_and_is_given_out_again(redis: ArqRedis) -> None:
    queue, runs, ours = ArqQueue(redis), Runs(unclaimed=2), hint()
    async with working(redis, runs):
        await queue.enqueue([ours])
        await until_empty(queue)
    assert (runs.began, runs.ended) == ([ours] * 3, [ours])
    assert set(await redis.keys("*")) <= KEPT
