"""Rerankers behind the interface that Cohere and Jina share, and that vLLM and LiteLLM speak: `POST /rerank`."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from openai import AsyncOpenAI

from jobs.ports import ModelName, Reading, Usage
from worker.adapters.model_errors import provider_errors_translated
from worker.adapters.models import CALL_HEADER
from worker.telemetry import model_span


class HttpReranker:
    """`jobs.ports.Reranker`. The client of OpenAI's SDK brings the address, the key and the pool of connections."""

    def __init__(self, client: AsyncOpenAI, name: ModelName, *, timeout_s: float) -> None:
        self._client = client
        self._name = name
        self._timeout_s = timeout_s

    @property
    def name(self) -> ModelName:
        return self._name

    async def rerank(self, question: str, passages: Sequence[str], call_id: str) -> Reading:
        body = {"model": self._name.model, "query": question, "documents": list(passages), "top_n": len(passages)}
        with model_span("rerank", self._name) as span, provider_errors_translated(self._name):
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.post(
                    "/rerank", body=body, options={"headers": {CALL_HEADER: call_id}}, cast_to=object
                )
            scores, usage = _scores(answer, len(passages)), _usage(answer)
            if usage is not None:
                span.used(usage)
        return Reading(scores, usage)


def _scores(answer: Any, count: int) -> tuple[float, ...]:
    """One a passage, in the order of the request. Raises ValueError for anything else than that."""
    try:
        scores = {int(result["index"]): float(result["relevance_score"]) for result in answer["results"]}
    except (KeyError, TypeError) as error:
        raise ValueError("there are no results with an index and a relevance_score") from error
    if sorted(scores) != list(range(count)) or not all(map(math.isfinite, scores.values())):
        raise ValueError(f"{count} passages were sent, {len(scores)} scores came back")
    return tuple(scores[place] for place in range(count))


def _usage(answer: Any) -> Usage | None:
    """Jina says `usage.total_tokens`, Cohere `meta.tokens.input_tokens`; None: the provider counts no tokens."""
    for path in (("usage", "total_tokens"), ("usage", "prompt_tokens"), ("meta", "tokens", "input_tokens")):
        value = answer
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and value >= 0:
            return Usage(int(value))
    return None
