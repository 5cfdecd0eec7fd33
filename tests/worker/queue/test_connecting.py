import asyncio

from arq.connections import ArqRedis

from worker.queue.connecting import BoundedConnection, BoundedSSLConnection, connected


async def test_a_canceled_task_never_runs_on(redis: ArqRedis) -> None:
    """On Python 3.11 redis-py's own timeout of a write lost every few hundredth cancellation."""

    async def ping_forever() -> None:
        while True:
            await redis.ping()

    for turn in range(300):
        task = asyncio.create_task(ping_forever())
        await asyncio.sleep(turn % 10 * 0.0001)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        task.cancel()
        assert done, f"the cancellation of turn {turn} was lost"


async def test_commands_bound_by_time_work_over_tls_as_well() -> None:
    async with connected("rediss://127.0.0.1:1/0") as secure, connected("redis://127.0.0.1:1/0") as plain:
        pools = (secure.connection_pool, plain.connection_pool)
        made = [type(pool.make_connection()) for pool in pools]  # type: ignore[no-untyped-call] # redis-py's
    assert made == [BoundedSSLConnection, BoundedConnection]
