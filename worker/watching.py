"""Signals of the fleet's queue, from each worker: whoever is asked for metrics can tell."""

import asyncio
from contextlib import suppress

from worker.ports import Queue, QueueUnavailable
from worker.telemetry import Metrics

EVERY_S = 5.0


async def watch_backlog(queue: Queue, metrics: Metrics, *, every_s: float = EVERY_S) -> None:
    """Shows the backlog among the metrics until it is canceled; in an outage, which the loop reports, the last one."""
    while True:
        with suppress(QueueUnavailable):
            metrics.backlog_seen(await queue.backlog())
        await asyncio.sleep(every_s)
