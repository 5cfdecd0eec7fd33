"""Rerankers as Cohere, Jina and vLLM answer, and as none should."""

import json
from typing import Any

import httpx2
import pytest

from jobs.errors import JobError, Permanent, Retryable
from jobs.ports import ModelName, Reading, Usage
from tests.worker.adapters.providers import CALL, provider
from worker.adapters.models import CALL_HEADER
from worker.adapters.reranking import HttpReranker

NAME = ModelName("jina", "jina-reranker-v3")
PASSAGES = ("about swallows", "about hints", "about rows")
RESULTS = [{"index": place, "relevance_score": score} for place, score in ((1, 0.9), (2, 0.4), (0, -1.5))]


async def reading(answer: httpx2.Response, asked: list[httpx2.Request] | None = None) -> Reading:
    async with provider(answer, [] if asked is None else asked) as client:
        return await HttpReranker(client, NAME, timeout_s=5.0).rerank("q", PASSAGES, CALL)


async def test_scores_come_in_the_order_of_the_passages() -> None:
    asked: list[httpx2.Request] = []
    body = {"model": "m", "usage": {"total_tokens": 70}, "results": RESULTS}
    assert await reading(httpx2.Response(200, json=body), asked) == Reading((-1.5, 0.9, 0.4), Usage(70))
    assert (asked[0].url.path, asked[0].headers[CALL_HEADER]) == ("/v1/rerank", CALL)
    assert asked[0].headers["authorization"] == "Bearer key"
    assert json.loads(asked[0].content) == {"model": NAME.model, "query": "q", "documents": list(PASSAGES), "top_n": 3}


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({"meta": {"tokens": {"input_tokens": 80}, "billed_units": {"search_units": 1}}}, Usage(80)),
        ({"meta": {"billed_units": {"search_units": 1}}}, None),
        ({"usage": None}, None),
        ({}, None),
    ],
)
async def test_tokens_are_booked_where_the_provider_counts_them(more: dict[str, Any], usage: Usage | None) -> None:
    assert (await reading(httpx2.Response(200, json={"results": RESULTS, **more}))).usage == usage


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"results": None},
        {"results": RESULTS[:2]},
        {"results": [*RESULTS[:2], RESULTS[0]]},
        {"results": [{**result, "index": 7} for result in RESULTS]},
        {"results": [{**result, "relevance_score": "much"} for result in RESULTS]},
        {"results": [{**result, "relevance_score": 1e999} for result in RESULTS]},
    ],
)
async def test_an_answer_that_is_not_one_score_a_passage_is_unreadable(body: Any) -> None:
    with pytest.raises(Retryable, match=r"model\.unreadable"):
        await reading(httpx2.Response(200, content=json.dumps(body), headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [(429, Retryable, "model.rate_limited"), (500, Retryable, "model.unavailable"), (401, Permanent, "unauthorized")],
)
async def test_errors_are_those_of_every_model(status: int, error: type[JobError], code: str) -> None:
    with pytest.raises(error, match=code):
        await reading(httpx2.Response(status, json={"error": {"message": "no"}}))
