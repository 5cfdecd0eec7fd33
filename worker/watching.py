"""What a worker watches beside its work: the fleet's queue, for metrics; at start, whose vectors are stored."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from jobs.errors import JobError
from worker.ports import Queue, QueueUnavailable
from worker.telemetry import Metrics

EVERY_S = 5.0

log = structlog.get_logger()


async def watch_backlog(queue: Queue, metrics: Metrics, *, every_s: float = EVERY_S) -> None:
    """Shows the backlog among the metrics until it is canceled; in an outage, which the loop reports, the last one."""
    while True:
        with suppress(QueueUnavailable):
            metrics.backlog_seen(await queue.backlog())
        await asyncio.sleep(every_s)


async def warn_of_other_models(stored: Callable[[], Awaitable[Sequence[str]]], configured: str) -> None:
    """Says once if chunks are stored that no question finds, since another model than the configured embedded them."""
    try:
        others = sorted(set(await stored()) - {configured})
    except JobError as problem:
        log.warning("embedding.unchecked", code=problem.code)
        return
    if others:
        log.warning("embedding.mismatch", configured=configured, stored=others)
