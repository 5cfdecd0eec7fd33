"""SAQ: hiredis and uvloop, 100 jobs at once, no results kept."""

import sys

import uvloop
from saq import Queue, Worker
from tally import Tally, command, reporting

URL = sys.argv[2]


async def enqueueing() -> None:
    queue = Queue.from_url(URL)
    await command(lambda ms, ns: queue.enqueue("job", ms=ms, enqueued_ns=ns, ttl=-1))


async def working() -> None:
    tally = Tally()

    async def job(_ctx: object, *, ms: int, enqueued_ns: int) -> None:
        await tally.job(ms, enqueued_ns)

    worker = Worker(Queue.from_url(URL), [("job", job)], concurrency=100)
    await reporting(tally, worker.start())


uvloop.run(working() if sys.argv[1] == "work" else enqueueing())
