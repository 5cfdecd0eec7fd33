"""taskiq on a Redis stream, which acknowledges; 100 tasks at once, parameters not parsed, uvloop."""

import sys

import uvloop
from tally import Tally, command, reporting
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

URL = sys.argv[2]

tally = Tally()
broker = RedisStreamBroker(URL, consumer_id="0")


@broker.task(task_name="job")
async def job(ms: int, enqueued_ns: int) -> None:
    await tally.job(ms, enqueued_ns)


async def enqueueing() -> None:
    await broker.startup()
    await command(job.kiq)


async def working() -> None:
    receiving = run_receiver_task(
        broker, validate_params=False, max_async_tasks=100, max_prefetch=100, run_startup=True
    )
    await reporting(tally, receiving)


uvloop.run(working() if sys.argv[1] == "work" else enqueueing())
