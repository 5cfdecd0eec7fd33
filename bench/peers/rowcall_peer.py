"""Rowcall's queue: the code and the settings of `rowcall worker`, 100 jobs at once. Jobs are of ten tenants."""

import asyncio
import sys
import tomllib
from itertools import count
from pathlib import Path

import uvloop
from tally import Tally, command, reporting

from worker.app import claiming_of
from worker.configuration import LanesSection, WorkerSection
from worker.ports import Hint
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.queue.hint_worker import HintWorker
from worker.telemetry import Metrics

URL = sys.argv[2]
SETTINGS = tomllib.loads((Path(__file__).parents[2] / "rowcall.toml").read_text())
TENANTS = 10


async def enqueueing() -> None:
    numbers = count()
    async with connected(URL) as redis:
        queue = ArqQueue(redis)

        async def enqueue(ms: int, enqueued_ns: int) -> None:
            number = next(numbers)
            await queue.enqueue(
                [Hint(f"{enqueued_ns}-{number:032}", 0, str(ms), "interactive", f"t{number % TENANTS}")]
            )

        await command(enqueue)


async def working(workers: int, places: int) -> None:
    tally = Tally()

    async def run(hint: Hint) -> None:
        await tally.job(int(hint.kind), int(hint.id.partition("-")[0]))

    section = WorkerSection(**SETTINGS["worker"] | {"concurrency": places})
    claiming = claiming_of(section, LanesSection(**SETTINGS["lanes"]))
    async with connected(URL) as redis:
        loops = [HintWorker(redis, run, claiming, Metrics()).work(asyncio.Event()) for _ in range(workers)]
        await reporting(tally, asyncio.gather(*loops))


if sys.argv[1] == "work":
    uvloop.run(working(*(int(n) for n in sys.argv[3:]) if sys.argv[3:] else (1, 100)))
else:
    uvloop.run(enqueueing())
