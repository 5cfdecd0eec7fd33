"""Embeddings against the local model server, over HTTP, and against providers that answer oddly."""

import json
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
import pytest
from openai import AsyncOpenAI

from jobs.errors import Permanent, Retryable
from jobs.ports import Usage, Vectors
from tests.local.model_server.running import ModelServer
from tests.worker.adapters.providers import CALL, EMBEDDING, provider
from worker.adapters.models import OpenAIEmbedder


def embedder(client: AsyncOpenAI, *, timeout_s: float = 30.0, sends_dimensions: bool = False) -> OpenAIEmbedder:
    return OpenAIEmbedder(client, EMBEDDING, sends_dimensions=sends_dimensions, request_timeout_s=timeout_s)


async def test_vectors_are_unit_and_in_the_order_of_the_texts(model_client: AsyncOpenAI) -> None:
    texts = [f"swallow number {n}" for n in range(70)]
    embedded = await embedder(model_client).embed(texts, CALL)
    assert embedded.vectors.shape == (70, 384)
    assert embedded.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1.0, atol=1e-6)
    alone = await embedder(model_client).embed([texts[69]], CALL)
    assert np.allclose(alone.vectors[0], embedded.vectors[69], atol=1e-5)
    assert embedded.vectors[69] @ embedded.vectors[0] < 0.9999


async def test_sixty_four_texts_share_a_request_and_all_their_tokens_are_counted(
    model_client: AsyncOpenAI, model_server: ModelServer
) -> None:
    embedded = await embedder(model_client).embed(["bird"] * 129, CALL)
    assert [entry["endpoint"] for entry in model_server.log()] == ["embeddings"] * 3
    assert embedded.usage == Usage(tokens_in=sum(entry["prompt_tokens"] for entry in model_server.log()))


async def test_no_texts_are_no_request(model_client: AsyncOpenAI, model_server: ModelServer) -> None:
    embedded = await embedder(model_client).embed([], CALL)
    assert embedded.vectors.shape == (0, 384)
    assert (embedded.usage, model_server.log()) == (Usage(0), [])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "status", "status": 429, "retry_after_s": 3}, "model.rate_limited"),
        ({"kind": "status", "status": 500}, "model.unavailable"),
        ({"kind": "cut_stream"}, "model.unavailable"),
        ({"kind": "malformed"}, "model.unreadable"),
        ({"kind": "hang"}, "model.timeout"),
    ],
)
async def test_an_embedding_that_fails_is_tried_again(
    model_client: AsyncOpenAI, model_server: ModelServer, fault: dict[str, Any], code: str
) -> None:
    model_server.fail(fault, endpoint="embeddings")
    with pytest.raises(Retryable) as caught:
        await embedder(model_client, timeout_s=0.3 if fault["kind"] == "hang" else 30.0).embed(["bird"], CALL)
    assert caught.value.code == code
    assert len(model_server.log()) == 1


async def test_an_input_that_the_model_rejects_is_permanent(model_client: AsyncOpenAI) -> None:
    with pytest.raises(Permanent, match=r"model\.rejected"):
        await embedder(model_client).embed([""], CALL)


# Providers that answer oddly


def wire_answer(vectors: list[list[float]], indexes: Sequence[int]) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in zip(indexes, vectors, strict=True)
    ]
    return {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


async def embedded_from(answer: dict[str, Any], texts: list[str]) -> Vectors:
    async with provider(httpx2.Response(200, json=answer), []) as client:
        return (await embedder(client).embed(texts, CALL)).vectors


async def test_vectors_that_come_out_of_order_are_put_in_order() -> None:
    east, north = [1.0] + [0.0] * 383, [0.0, 2.0] + [0.0] * 382
    vectors = await embedded_from(wire_answer([north, east], [1, 0]), ["a", "b"])
    assert (vectors[0][0], vectors[1][1]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("vectors", "indexes", "code"),
    [
        ([[0.0] * 384], [0], "embedding.degenerate"),
        ([[1e200] * 384], [0], "embedding.degenerate"),
        ([[1.0] * 1536], [0], "embedding.dimensions"),
        ([[1.0] * 384, [1.0] * 384], [0, 1], "embedding.incomplete"),
        ([[1.0] * 384], [5], "embedding.incomplete"),
    ],
)
async def test_vectors_that_cannot_be_stored_are_permanent(
    vectors: list[list[float]], indexes: list[int], code: str
) -> None:
    with pytest.raises(Permanent) as caught:
        await embedded_from(wire_answer(vectors, indexes), ["one text"])
    assert caught.value.code == code


@pytest.mark.parametrize("usage", [None, {"total_tokens": 1}, {"prompt_tokens": -1}, {"prompt_tokens": "many"}])
async def test_a_provider_that_counts_no_tokens_leaves_them_unknown(usage: dict[str, Any] | None) -> None:
    answer = wire_answer([[1.0] * 384], [0]) | {"usage": usage}
    async with provider(httpx2.Response(200, json=answer), []) as client:
        embedded = await embedder(client).embed(["bird"], CALL)
    assert (embedded.vectors.shape, embedded.usage) == ((1, 384), None)


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": None}],
        [{"index": 0, "embedding": ["a"] * 384}],
        [{"embedding": [1.0] * 384}, {"embedding": [1.0] * 384}],
    ],
)
async def test_an_answer_that_holds_no_vectors_is_unreadable(data: list[Any]) -> None:
    with pytest.raises(Retryable, match=r"model\.unreadable"):
        await embedded_from({"data": data, "usage": {"prompt_tokens": 1}}, ["bird"] * len(data))


@pytest.mark.parametrize("sends_dimensions", [True, False])
async def test_dimensions_are_asked_of_those_models_that_take_them(*, sends_dimensions: bool) -> None:
    asked: list[httpx2.Request] = []
    async with provider(httpx2.Response(200, json=wire_answer([[1.0] * 384], [0])), asked) as client:
        await embedder(client, sends_dimensions=sends_dimensions).embed(["bird"], CALL)
    [request] = asked
    assert json.loads(request.content).get("dimensions") == (384 if sends_dimensions else None)
    assert request.headers["x-client-request-id"] == CALL
