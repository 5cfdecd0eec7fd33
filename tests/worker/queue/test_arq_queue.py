import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.worker import Worker
from hypothesis import given
from hypothesis import strategies as st

from tests.valkey import Valkey
from tests.waiting import async_until
from tests.worker.queue_contract import QueueContract, hint
from worker.local.ports import free_port
from worker.ports import Hint, Queue, QueueUnavailable
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.queue.stock import job_function
from worker.queue.wire import QUEUE, UnreadableHint, dumps, hint_of, job_id, loads, payload


class TestArqQueue(QueueContract):
    @pytest.fixture
    async def queue(self, redis: ArqRedis) -> Queue:
        return ArqQueue(redis)

    @pytest.fixture
    async def unreachable(self) -> AsyncIterator[Queue]:
        async with connected(f"redis://127.0.0.1:{free_port()}/0") as redis:
            yield ArqQueue(redis)


async def run_what_is_due(redis: ArqRedis) -> list[Hint]:
    """By arq's own worker, as it comes."""
    ran: list[Hint] = []

    async def run(hint: Hint) -> None:
        ran.append(hint)

    worker = Worker(
        [job_function(run)],
        queue_name=QUEUE,
        redis_pool=redis,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
        job_serializer=dumps,
        job_deserializer=loads,
    )
    await worker.main()
    return ran


async def test_a_stock_arq_worker_runs_what_was_enqueued_and_leaves_nothing(redis: ArqRedis) -> None:
    hints = [hint(attempt=n) for n in range(20)]
    queue = ArqQueue(redis)
    await queue.enqueue(hints)
    ran = await run_what_is_due(redis)
    assert sorted(ran, key=lambda h: h.attempt) == hints
    assert await queue.depth() == 0
    assert await redis.keys("arq:job:*") == []


async def test_what_arq_itself_enqueues_is_the_same_to_us(redis: ArqRedis) -> None:
    ours = hint()
    await redis.enqueue_job("run_generation", *vars_of(ours), _job_id=job_id(ours))
    assert await ArqQueue(redis).enqueue([ours]) == 0
    assert await run_what_is_due(redis) == [ours]


def vars_of(hint: Hint) -> tuple[Any, ...]:
    return hint.id, hint.attempt, hint.kind, hint.lane, hint.tenant


async def test_five_hundred_hints_are_one_round_trip(redis: ArqRedis) -> None:
    async def calls() -> int:
        made: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        return made

    queue = ArqQueue(redis)
    await queue.enqueue([hint()])  # the script is loaded now
    before = await calls()
    await queue.enqueue([hint() for _ in range(500)])
    assert await calls() == before + 1


async def test_what_many_callers_add_at_once_shares_its_calls(redis: ArqRedis) -> None:
    async def calls() -> int:
        made: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        return made

    queue = ArqQueue(redis)
    await queue.enqueue([hint()])  # the script is loaded now
    before = await calls()
    assert await asyncio.gather(*(queue.enqueue([hint()]) for _ in range(400))) == [1] * 400
    assert await calls() - before <= 4


async def test_what_stands_in_redis_is_json_with_ids_and_scheduling_alone(redis: ArqRedis) -> None:
    ours = hint()
    await ArqQueue(redis).enqueue([ours])
    raw = await redis.get(job_key_prefix + job_id(ours))
    assert raw is not None
    job = json.loads(raw)
    assert job["f"] == "run_generation"
    assert job["a"] == list(vars_of(ours))
    assert job["k"] == {}
    assert set(job) == {"t", "f", "a", "k", "et"}


async def test_a_hint_that_waits_for_later_and_is_asked_for_now_is_due_now(redis: ArqRedis) -> None:
    queue, ours = ArqQueue(redis), hint()
    await queue.enqueue([ours], wait_s=3600.0)
    await queue.enqueue([ours])
    await queue.enqueue([ours], wait_s=3600.0)
    assert await run_what_is_due(redis) == [ours]


async def test_a_hint_does_not_expire_while_it_waits(redis: ArqRedis) -> None:
    ours = hint()
    await ArqQueue(redis).enqueue([ours], wait_s=86_400.0)
    assert await redis.pttl(job_key_prefix + job_id(ours)) > 7 * 86_400_000


async def test_a_hint_whose_taker_died_is_given_out_again_soon_after_it_was_asked_for(redis: ArqRedis) -> None:
    queue, ours = ArqQueue(redis, redelivery_s=0.2), hint()
    await queue.enqueue([ours])
    mark = in_progress_key_prefix + job_id(ours)
    await redis.psetex(mark, 310_000, b"1")  # as arq does, whose worker then dies
    assert await queue.enqueue([ours]) == 0
    assert await queue.depth() == 1

    async def is_unmarked() -> bool:
        await queue.enqueue([ours])  # asking again does not put it off
        return bool(await redis.exists(mark) == 0)

    await async_until(is_unmarked, "the mark is gone")
    assert await run_what_is_due(redis) == [ours]


async def test_a_hint_that_runs_is_left_alone_for_the_redelivery_time(redis: ArqRedis) -> None:
    queue, ours = ArqQueue(redis), hint()
    await queue.enqueue([ours])
    mark = in_progress_key_prefix + job_id(ours)
    await redis.psetex(mark, 310_000, b"1")
    await queue.enqueue([ours])
    assert 14_000 < await redis.pttl(mark) <= 15_000


# A Redis that refuses


@pytest.fixture
async def queue(redis: ArqRedis) -> Queue:
    return ArqQueue(redis)


async def refused(queue: Queue) -> str:
    with pytest.raises(QueueUnavailable) as caught:
        await queue.enqueue([hint()])
    return str(caught.value)


async def test_a_full_memory_is_an_unavailable_queue(redis: ArqRedis, queue: Queue) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        assert "OutOfMemoryError" in await refused(queue)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await queue.enqueue([hint()]) == 1


async def test_a_read_only_replica_is_an_unavailable_queue(redis: ArqRedis, queue: Queue) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))  # type: ignore[no-untyped-call]
    try:
        assert "ReadOnlyError" in await refused(queue)
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


async def test_a_wrong_password_is_an_unavailable_queue_and_stays_out_of_the_message(server: Valkey) -> None:
    async with connected(server.url.replace("let-me-in", "guess-what")) as redis:
        message = await refused(ArqQueue(redis))
    assert "AuthenticationError" in message
    assert "guess-what" not in message


async def test_a_server_that_is_silent_is_an_unavailable_queue() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(say_nothing, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        redis = await stack.enter_async_context(connected(f"redis://127.0.0.1:{port}/0", timeout_s=0.1))
        assert "TimeoutError" in await refused(ArqQueue(redis))


async def test_in_an_outage_all_callers_fail_soon_and_not_one_after_the_other() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(say_nothing, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        redis = await stack.enter_async_context(connected(f"redis://127.0.0.1:{port}/0", timeout_s=2.0))
        queue = ArqQueue(redis)
        callers = [queue.enqueue([hint()], wait_s=float(n % 2)) for n in range(200)]
        assert {type(result) for result in await asyncio.gather(*callers, return_exceptions=True)} == {QueueUnavailable}


async def test_the_queue_works_again_when_its_redis_does_and_has_kept_its_hints(mortal: Valkey) -> None:
    async with connected(mortal.url) as redis:
        queue = ArqQueue(redis)
        await queue.enqueue([hint()])
        mortal.kill()
        assert "ConnectionError" in await refused(queue)
        mortal.start()
        assert await queue.enqueue([hint()]) == 1
        assert await queue.depth() == 2


async def test_a_server_that_forgot_the_script_gets_it_again(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue([hint()])
    await redis.script_flush()
    assert await queue.enqueue([hint()]) == 1


# The wire format

HINTS = st.builds(
    Hint,
    id=st.text(),
    attempt=st.integers(min_value=0, max_value=2**31 - 1),
    kind=st.text(),
    lane=st.text(),
    tenant=st.none() | st.text(),
)


@given(HINTS)
def test_a_hint_survives_the_wire(hint: Hint) -> None:
    assert hint_of(loads(payload(hint))["a"]) == hint


@given(st.lists(st.none() | st.booleans() | st.floats() | st.dictionaries(st.text(), st.text())))
def test_arguments_that_are_no_hint_are_refused(arguments: list[Any]) -> None:
    with pytest.raises(UnreadableHint):
        hint_of(arguments)


def test_a_pickle_is_not_read() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what decoding or parsing says first
        loads(pickle.dumps({"f": "run_generation"}))
