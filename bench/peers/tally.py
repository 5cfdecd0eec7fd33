"""What each peer of `queue_peers.py` shares: its three commands, and what its worker says of the jobs that it ran.

    PEER.py fill URL COUNT MS      enqueues jobs that take MS milliseconds
    PEER.py trickle URL COUNT PER_S   enqueues jobs one at a time, at a steady rate
    PEER.py work URL               runs jobs until it is killed, and prints a line of JSON when something has changed

Runs in each peer's own environment: the standard library alone. Times are of the system-wide monotonic clock.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

REPORT_EVERY_S = 0.05
CHUNK = 500

Enqueue = Callable[[int, int], Awaitable[object]]  # how long the job takes, in ms; when it was enqueued, in ns


class Tally:
    def __init__(self) -> None:
        self.began = self.ended = self.at_once = self.most_at_once = 0
        self.first_ns = self.last_ns = self._cpu_at_first_ns = 0
        self.waits_ns: list[int] = []

    async def job(self, ms: int, enqueued_ns: int) -> None:
        now = time.monotonic_ns()
        if not self.began:
            self.first_ns, self._cpu_at_first_ns = now, time.process_time_ns()
        self.waits_ns.append(now - enqueued_ns)
        self.began += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if ms:
            await asyncio.sleep(ms / 1000)
        self.at_once -= 1
        self.ended += 1
        self.last_ns = time.monotonic_ns()

    async def report_forever(self) -> None:
        shown = -1
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            if shown != self.began + self.ended:
                shown = self.began + self.ended
                waits, self.waits_ns = self.waits_ns, []
                report = {
                    "ended": self.ended,
                    "most_at_once": self.most_at_once,
                    "first_ns": self.first_ns,
                    "last_ns": self.last_ns,
                    "cpu_ns": time.process_time_ns() - self._cpu_at_first_ns,
                    "waits_ns": waits,
                }
                sys.stdout.write(json.dumps(report) + "\n")
                sys.stdout.flush()


async def fill(enqueue: Enqueue, count: int, ms: int) -> None:
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        await asyncio.gather(*(enqueue(ms, time.monotonic_ns()) for _ in range(size)))


async def trickle(enqueue: Enqueue, count: int, per_s: float) -> None:
    for _ in range(count):
        await enqueue(0, time.monotonic_ns())
        await asyncio.sleep(1 / per_s)


async def command(enqueue: Enqueue) -> None:
    name, _, count, third = sys.argv[1:]
    if name == "fill":
        await fill(enqueue, int(count), int(third))
    else:
        await trickle(enqueue, int(count), float(third))


async def reporting(tally: Tally, work: Awaitable[object]) -> None:
    reports = asyncio.create_task(tally.report_forever())
    with suppress(asyncio.CancelledError):
        await work
    reports.cancel()
