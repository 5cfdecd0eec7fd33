"""arq: `stock` has its own settings, `tuned` polls every 10 ms, keeps no results and runs on uvloop."""

import asyncio
import sys

import uvloop
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func
from tally import Tally, command, reporting

URL = sys.argv[2]
IS_TUNED = sys.argv.pop() == "tuned"
TUNED = {"max_jobs": 100, "poll_delay": 0.01, "keep_result": 0}


async def enqueueing() -> None:
    redis: ArqRedis = await create_pool(RedisSettings.from_dsn(URL))
    await command(lambda ms, ns: redis.enqueue_job("job", ms, ns))


async def working() -> None:
    tally = Tally()

    async def job(_ctx: object, ms: int, enqueued_ns: int) -> None:
        await tally.job(ms, enqueued_ns)

    settings = TUNED if IS_TUNED else {}
    worker = Worker(
        [func(job, name="job")], redis_settings=RedisSettings.from_dsn(URL), handle_signals=False, **settings
    )
    await reporting(tally, worker.async_run())


main = working if sys.argv[1] == "work" else enqueueing
uvloop.run(main()) if IS_TUNED else asyncio.run(main())
