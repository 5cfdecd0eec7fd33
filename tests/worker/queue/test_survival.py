"""What Redis, the wire to it, and a worker's own event loop may do without a job being lost or run twice."""

import asyncio
import time
from dataclasses import replace

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus
from structlog.testing import capture_logs

from tests.valkey import Valkey
from tests.waiting import async_until
from tests.worker.queue.test_hint_worker import CLAIMING, Runs, until_began, until_empty, until_logged, working
from tests.worker.queue.wires import wire_to
from tests.worker.queue_contract import hint
from worker.local.ports import free_port
from worker.ports import Hint, QueueUnavailable
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.queue.hint_worker import HintWorker
from worker.queue.wire import QUEUE, job_id, loads
from worker.telemetry import Metrics

QUICK_S = 0.5  # a connection's patience


# The wire


async def test_a_wire_that_swallows_everything_is_noticed_and_work_goes_on_after_it(
    redis: ArqRedis, server: Valkey
) -> None:
    runs = Runs()
    async with wire_to(server) as wire, connected(wire.url, timeout_s=QUICK_S) as swallowed:
        with capture_logs() as logs:
            async with working(swallowed, runs):
                await ArqQueue(redis).enqueue([hint()])
                await until_began(runs, 1)
                wire.is_open = False
                await until_logged(logs, "queue.unreachable")
                await ArqQueue(redis).enqueue([hint()])
                wire.is_open = True
                await until_began(runs, 2)
                await until_empty(ArqQueue(redis))
    assert len({h.id for h in runs.began}) == len(runs.began) == 2


async def test_jobs_whose_reply_was_lost_are_handed_back_long_before_their_lease_ends(
    redis: ArqRedis, server: Valkey
) -> None:
    queue, runs, hints = ArqQueue(redis), Runs(), [hint() for _ in range(5)]
    async with wire_to(server) as wire, connected(wire.url) as cut:
        wire.cut_reply = b"run_generation"
        with capture_logs() as logs:
            async with working(cut, runs, replace(CLAIMING, max_jobs=80, lease_s=3600.0)):
                await queue.enqueue(hints)
                await until_empty(queue)
    assert wire.cuts == 1
    assert [entry["recalled"] for entry in logs if entry["event"] == "hints.recalled"] == [5]
    assert sorted(h.id for h in runs.ended) == sorted(h.id for h in hints)


async def test_ends_whose_acknowledgement_was_lost_are_told_again(redis: ArqRedis, server: Valkey) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    metrics = Metrics()
    async with wire_to(server) as wire, connected(wire.url) as cut:
        stop = asyncio.Event()
        task = asyncio.create_task(HintWorker(cut, runs.run, CLAIMING, metrics).work(stop))
        await queue.enqueue([hint()])
        await until_began(runs, 1)
        await asyncio.sleep(0.05)
        wire.cut_reply = b"*2\r\n*0\r\n:-1\r\n"  # a step that claimed nothing
        runs.go_on.set()
        await until_empty(queue)
        await async_until(lambda: has_cut(wire.cuts), "the reply was cut")
        stop.set()
        await task
    assert await redis.keys("arq:*") == []
    assert metrics.registry.get_sample_value("rowcall_queue_leases_lost_total") == 0


async def has_cut(cuts: int) -> bool:
    return cuts == 1


async def test_an_enqueue_whose_reply_was_lost_is_no_duplicate_but_an_outage_and_may_be_repeated(
    redis: ArqRedis, server: Valkey
) -> None:
    ours, runs = hint(), Runs()
    async with wire_to(server) as wire, connected(wire.url) as cut:
        await cut.ping()
        queue = ArqQueue(cut)
        await queue.enqueue([hint()])
        wire.cut_reply = b"*1\r\n:1\r\n"
        with pytest.raises(QueueUnavailable):
            await queue.enqueue([ours])
        assert await queue.enqueue([ours]) == 0  # it is there
    async with working(redis, runs):
        await until_empty(ArqQueue(redis))
    assert runs.ended.count(ours) == 1


async def test_something_that_refuses_commands_behind_a_waiting_one_is_worked_around(
    redis: ArqRedis, server: Valkey
) -> None:
    runs, ours = Runs(), hint()
    async with wire_to(server) as wire, connected(wire.url) as refused:
        with capture_logs() as logs:
            async with working(refused, runs):
                await async_until(lambda: is_waiting(redis), "the worker waits")
                wire.refusal = b"*-1\r\n-ERR no pipelining behind BLPOP\r\n"
                await until_logged(logs, "queue.two_steps")
                wire.refusal = None
                await ArqQueue(redis).enqueue([ours])
                await until_began(runs, 1)
    assert [entry["event"] for entry in logs].count("queue.two_steps") == 1


async def is_waiting(redis: ArqRedis) -> bool:
    return int((await redis.info("clients"))["blocked_clients"]) > 0


# The server


async def test_a_server_that_loads_its_data_is_waited_for(redis: ArqRedis, server: Valkey) -> None:
    runs = Runs()
    async with wire_to(server) as wire, connected(wire.url) as loading:
        wire.refusal = b"-LOADING Redis is loading the dataset in memory\r\n"
        with capture_logs() as logs:
            async with working(loading, runs):
                await until_logged(logs, "queue.unreachable")
                wire.refusal = None
                await ArqQueue(redis).enqueue([hint()])
                await until_began(runs, 1)


async def test_a_server_that_became_a_replica_is_waited_for(redis: ArqRedis, server: Valkey) -> None:
    runs = Runs()
    with capture_logs() as logs:
        async with connected(server.url) as client, working(client, runs):
            await redis.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))  # type: ignore[no-untyped-call] # redis-py's
            try:
                await until_logged(logs, "queue.unreachable")
            finally:
                await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call] # redis-py's
            await ArqQueue(redis).enqueue([hint()])
            await until_began(runs, 1)
    assert [entry["problem"] for entry in logs if entry["event"] == "queue.unreachable"] == ["ReadOnlyError"]


async def test_a_server_whose_memory_is_full_takes_nothing_more_and_gives_out_what_it_has(
    redis: ArqRedis, server: Valkey
) -> None:
    queue, runs = ArqQueue(redis), Runs()
    await queue.enqueue([hint() for _ in range(30)])
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(QueueUnavailable):
            await queue.enqueue([hint()])
        async with connected(server.url) as client, working(client, runs):
            await until_began(runs, 30)
            await until_empty(queue)
    finally:
        await redis.config_set("maxmemory", "0")


async def test_a_worker_says_that_it_is_not_ready_while_redis_is_away(mortal: Valkey) -> None:
    async with connected(mortal.url) as redis:
        stop = asyncio.Event()
        worker = HintWorker(redis, Runs().run, CLAIMING, Metrics())
        assert await worker.unready() == ("queue.connecting",)
        task = asyncio.create_task(worker.work(stop))
        await async_until(lambda: says(worker), "ready")
        mortal.kill()
        await async_until(lambda: says(worker, "queue.unreachable"), "not ready")
        mortal.start()
        await async_until(lambda: says(worker), "ready again")
        stop.set()
        await async_until(lambda: says(worker, "worker.draining"), "draining")
        await task


async def says(worker: HintWorker, *reasons: str) -> bool:
    return await worker.unready() == reasons


# The worker


async def test_an_event_loop_that_is_busy_keeps_its_jobs(redis: ArqRedis, server: Valkey) -> None:
    """What blocks it here blocks this whole process, so the other worker, too, is one that comes afterwards."""
    queue, runs, others = ArqQueue(redis), Runs(hold=True), Runs()
    await queue.enqueue([hint()])
    async with working(redis, runs, replace(CLAIMING, lease_s=0.6)):
        await until_began(runs, 1)
        time.sleep(1.5)  # noqa: ASYNC251 - two leases and a half
        async with connected(server.url) as another, working(another, others):
            await asyncio.sleep(0.1)
        assert others.began == []
        runs.go_on.set()
        await until_empty(queue)


async def test_an_event_loop_that_is_stuck_lets_others_have_its_jobs(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    ours = hint()
    await queue.enqueue([ours])
    async with working(redis, runs, replace(CLAIMING, lease_s=0.3, stuck_s=0.3)):
        await until_began(runs, 1)
        time.sleep(1.5)  # noqa: ASYNC251 - it is the point
        assert await redis.exists(f"arq:in-progress:{job_id(ours)}") == 0
        runs.go_on.set()
        await until_empty(queue)


async def test_a_lost_lease_ends_nothing_because_the_rows_lease_decides(redis: ArqRedis, server: Valkey) -> None:
    queue, runs, others, ours = ArqQueue(redis), Runs(hold=True), Runs(), hint()
    metrics = Metrics()
    stop = asyncio.Event()
    task = asyncio.create_task(
        HintWorker(redis, runs.run, replace(CLAIMING, lease_s=0.6, max_jobs=1), metrics).work(stop)
    )
    await queue.enqueue([ours])
    await until_began(runs, 1)
    await redis.delete(f"arq:in-progress:{job_id(ours)}")
    await redis.zadd(QUEUE, {job_id(ours): 1})
    async with connected(server.url) as another, working(another, others):
        await until_began(others, 1)  # and its claim of the row will be declined
        await until_empty(queue)

        async def is_known() -> bool:
            return metrics.registry.get_sample_value("rowcall_queue_leases_lost_total") != 0

        await async_until(is_known, "the worker knows that it lost the lease")
        runs.go_on.set()
        stop.set()
        await task
    assert (runs.ended, runs.canceled) == ([ours], [])
    assert await redis.keys("arq:*") == []


async def test_a_job_that_ended_while_it_was_renewed_has_lost_nothing(redis: ArqRedis) -> None:
    """The renewing thread looks, then calls; between them a job may end, and its lease with it."""
    metrics = Metrics()
    with capture_logs() as logs:
        HintWorker(redis, Runs().run, CLAIMING, metrics)._not_renewed([job_id(hint())])
    assert logs == []
    assert metrics.registry.get_sample_value("rowcall_queue_leases_lost_total") == 0


async def test_a_rolling_restart_under_load_loses_nothing_and_repeats_nothing(redis: ArqRedis, server: Valkey) -> None:
    queue, began, ended = ArqQueue(redis), list[Hint](), list[Hint]()

    async def run(hint: Hint) -> None:
        began.append(hint)
        await asyncio.sleep(0.02)
        ended.append(hint)

    def start(client: ArqRedis) -> tuple[asyncio.Event, asyncio.Task[None]]:
        stop = asyncio.Event()
        worker = HintWorker(client, run, replace(CLAIMING, max_jobs=5), Metrics())
        return stop, asyncio.create_task(worker.work(stop))

    async with connected(server.url) as client:
        fleet = [start(client) for _ in range(3)]
        hints = [hint() for _ in range(600)]
        for turn in range(6):
            await queue.enqueue(hints[100 * turn : 100 * turn + 100])
            stop, task = fleet.pop(0)
            fleet.append(start(client))
            stop.set()
            await task
        await until_empty(queue)
        for stop, task in fleet:
            stop.set()
            await task
    assert sorted(h.id for h in began) == sorted(h.id for h in ended) == sorted(h.id for h in hints)


# arq's readers


async def test_arq_sees_where_a_job_stands(redis: ArqRedis) -> None:
    queue, runs, now, later = ArqQueue(redis), Runs(hold=True), hint(), hint()
    await queue.enqueue([now])
    await queue.enqueue([later], wait_s=3600.0)
    jobs = [Job(job_id(h), redis, _queue_name=QUEUE, _deserializer=loads) for h in (now, later, hint())]
    assert [await job.status() for job in jobs] == [JobStatus.queued, JobStatus.deferred, JobStatus.not_found]
    async with working(redis, runs):
        await until_began(runs, 1)
        assert await jobs[0].status() == JobStatus.in_progress
        info = await jobs[0].info()
        assert info is not None
        assert list(info.args) == [now.id, now.attempt, now.kind, now.lane, now.tenant]
        runs.go_on.set()
        await async_until(lambda: stands(jobs[0], JobStatus.not_found), "it has ended, and keeps no result")


async def stands(job: Job, status: JobStatus) -> bool:
    return await job.status() == status


async def test_arq_can_abort_a_job_that_runs_one_that_waits_and_one_that_is_put_off(redis: ArqRedis) -> None:
    queue, runs = ArqQueue(redis), Runs(hold=True)
    running, waiting, put_off = hint(), hint(), hint()
    await queue.enqueue([running])
    await queue.enqueue([put_off], wait_s=3600.0)
    async with working(redis, runs, replace(CLAIMING, max_jobs=1)):
        await until_began(runs, 1)
        await queue.enqueue([waiting])
        jobs = [Job(job_id(h), redis, _queue_name=QUEUE, _deserializer=loads) for h in (waiting, put_off, running)]
        assert await asyncio.gather(*(job.abort(timeout=20, poll_delay=0.05) for job in jobs)) == [True, True, True]
        await until_empty(queue)
    assert (runs.began, runs.canceled) == ([running], [running])
    assert await redis.zcard("arq:abort") == 0


async def test_an_abort_of_a_job_that_was_not_there_does_not_meet_the_next_one_of_that_name(redis: ArqRedis) -> None:
    queue, runs, ours = ArqQueue(redis), Runs(), hint()
    await redis.zadd("arq:abort", {job_id(ours): 1_000 * time.time() - 61_000})
    await queue.enqueue([ours])
    async with working(redis, runs):
        await until_empty(queue)
    assert runs.ended == [ours]
