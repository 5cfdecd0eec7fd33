import asyncio

import psycopg
from structlog.testing import capture_logs

from jobs.errors import Retryable
from jobs.ports import ModelName
from tests.waiting import async_until
from tests.worker.queue_contract import hint
from worker.adapters.database import connected
from worker.adapters.knowledge import SupabaseKnowledge
from worker.adapters.memory import MemoryQueue
from worker.local.stack import Stack
from worker.ports import Backlog, LaneBacklog
from worker.telemetry import Metrics
from worker.watching import warn_of_other_models, watch_backlog


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


async def stored() -> list[str]:
    return ["a", "b"]


async def away() -> list[str]:
    raise Retryable("database.unreachable", "gone")


async def test_a_worker_says_at_start_which_vectors_no_question_finds() -> None:
    with capture_logs() as logs:
        await warn_of_other_models(stored, "a")
    assert logs == [{"event": "embedding.mismatch", "log_level": "warning", "configured": "a", "stored": ["b"]}]


async def test_a_database_that_is_away_keeps_no_worker_from_starting() -> None:
    with capture_logs() as logs:
        await warn_of_other_models(away, "a")
    assert logs == [{"event": "embedding.unchecked", "log_level": "warning", "code": "database.unreachable"}]


async def test_the_stored_models_are_read_from_the_project(stack: Stack) -> None:
    with psycopg.connect(stack.admin_db_url) as connection:
        connection.execute(
            """with made as (insert into rowcall.documents (source, content) values ('watched', 'text') returning id)
               insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                           content_hash, embedding, embedding_model)
               select id, 1, 0, 'text', 0, 4, 1, 'h', array_fill(1::real, array[384])::extensions.vector,
                      'watched-model'
                 from made"""
        )
    async with connected(stack.url, stack.secret_key) as database:
        knowledge = SupabaseKnowledge(database, embedding_model=ModelName("p", "m"))
        assert "watched-model" in await knowledge.embedding_models()
    with psycopg.connect(stack.admin_db_url) as connection:
        connection.execute("delete from rowcall.documents where source = 'watched'")
