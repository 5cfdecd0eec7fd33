import httpx
from prometheus_client import CollectorRegistry, Counter

from worker.health import create_internal


def client_with(reasons: list[str], registry: CollectorRegistry) -> httpx.AsyncClient:
    async def unready() -> list[str]:
        return reasons

    app = create_internal(unready=unready, registry=registry)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://internal")


async def test_a_process_is_ready_while_there_is_no_reason_against_it() -> None:
    reasons: list[str] = []
    async with client_with(reasons, CollectorRegistry()) as client:
        assert (await client.get("/readyz")).status_code == 200
        reasons.append("queue.unreachable")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["queue.unreachable"])
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("swallows", "Seen today", registry=registry).inc(3)
    async with client_with([], registry) as client:
        answer = await client.get("/metrics")
    assert "swallows_total 3.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
