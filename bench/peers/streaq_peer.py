"""streaq: 100 tasks at once, no results kept, uvloop."""

import logging
import sys
import time

import uvloop
from streaq import Worker
from tally import CHUNK, Tally, reporting, trickle

URL = sys.argv[2]

tally = Tally()
worker = Worker(redis_url=URL, concurrency=100, handle_signals=False)
logging.getLogger("streaq").setLevel(logging.ERROR)


@worker.task(ttl=0, silent=True, name="job")
async def job(ms: int, enqueued_ns: int) -> None:
    await tally.job(ms, enqueued_ns)


async def enqueueing() -> None:
    async with worker:
        if sys.argv[1] == "trickle":

            async def enqueue(ms: int, enqueued_ns: int) -> None:
                await job.enqueue(ms, enqueued_ns)

            await trickle(enqueue, int(sys.argv[3]), float(sys.argv[4]))
            return
        count, ms = int(sys.argv[3]), int(sys.argv[4])
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            await worker.enqueue_many([job.enqueue(ms, time.monotonic_ns()) for _ in range(size)])


async def working() -> None:
    await reporting(tally, worker.run_async())


uvloop.run(working() if sys.argv[1] == "work" else enqueueing())
