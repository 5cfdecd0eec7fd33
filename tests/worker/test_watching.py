import asyncio

from tests.waiting import async_until
from tests.worker.queue_contract import hint
from worker.adapters.memory import MemoryQueue
from worker.ports import Backlog, LaneBacklog
from worker.telemetry import Metrics
from worker.watching import watch_backlog


def shown(metrics: Metrics, name: str, lane: str = "interactive") -> float | None:
    return metrics.registry.get_sample_value(f"rowcall_queue_{name}", {"lane": lane})


async def test_the_backlog_is_among_the_metrics_also_after_an_outage() -> None:
    queue, metrics = MemoryQueue(), Metrics()
    watching = asyncio.create_task(watch_backlog(queue, metrics, every_s=0.01))

    async def waiting(count: int) -> bool:
        return shown(metrics, "waiting") == count

    await queue.enqueue([hint(), hint()])
    await async_until(lambda: waiting(2), "two wait")
    queue.available = False
    await asyncio.sleep(0.05)
    assert await waiting(2)
    queue.available = True
    await queue.enqueue([hint()])
    await async_until(lambda: waiting(3), "three wait")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_an_autoscaler_sees_how_much_work_waits_in_seconds() -> None:
    metrics = Metrics()
    bulk = LaneBacklog("bulk", waiting=120, oldest_s=33.0, running=50, mean_job_s=2.5)
    metrics.backlog_seen(Backlog(scheduled=7, lanes=(bulk,)))
    assert shown(metrics, "work_seconds", "bulk") == 300.0
    assert (shown(metrics, "oldest_seconds", "bulk"), shown(metrics, "running", "bulk")) == (33.0, 50.0)
    assert metrics.registry.get_sample_value("rowcall_queue_scheduled") == 7.0
