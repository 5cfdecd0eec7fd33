import asyncio
import base64
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from worker.local.model_server import protocol
from worker.local.model_server.exchanges import Exchange
from worker.local.model_server.faults import Empty, Faults, Slow
from worker.local.model_server.models import Models
from worker.local.model_server.protocol import ApiError, EmbeddingsBody

if TYPE_CHECKING:  # they import numpy, which takes 0.1 s: a thread does
    from worker.local.model_server.batching import Batcher, Embedded

DIMENSIONS = 384
MOST_THREADS = 2

log = logging.getLogger(__name__)


class Embedder:
    """MiniLM: a thread loads it from `start` on, requests wait for it."""

    def __init__(self) -> None:
        self._batcher: Future[Batcher] = Future()

    def start(self) -> None:
        threading.Thread(target=self._load, name="loading", daemon=True).start()

    @property
    def state(self) -> Literal["loading", "ready", "unavailable"]:
        if not self._batcher.done():
            return "loading"
        return "unavailable" if self._batcher.exception() else "ready"

    async def embed(self, texts: Sequence[str]) -> "Embedded":
        """Raises `ApiError` where the weights cannot be loaded. Cancelling it takes back what has not begun."""
        # Many requests wait for one loading: none of them may cancel it.
        batcher = await asyncio.shield(asyncio.wrap_future(self._batcher))
        return await asyncio.wrap_future(await asyncio.to_thread(batcher.submit, texts))

    def close(self) -> None:
        if self.state == "ready":
            self._batcher.result().close()

    def _load(self) -> None:
        from worker.local.model_server import batching, weights

        try:
            loaded, tokenizer = weights.load(weights.locate())
        except weights.WeightsUnavailableError as error:
            log.error("embeddings are unavailable: %s", error)
            unavailable = ApiError(503, str(error), type="server_error", code="model_unavailable")
            self._batcher.set_exception(unavailable)
        else:
            threads = min(MOST_THREADS, os.cpu_count() or 1)
            self._batcher.set_result(batching.Batcher(loaded, tokenizer, threads))


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`POST /v1/embeddings`."""

    models: Models
    faults: Faults
    embedder: Embedder

    async def answer(self, exchange: Exchange) -> None:
        body = protocol.read_embeddings(exchange.body)
        text = "\n".join(body.texts)
        exchange.record.note_request(body.model, text)
        self.models.check_embedding(body.model)
        if body.dimensions not in {None, DIMENSIONS}:
            raise ApiError(400, f"The model has {DIMENSIONS} dimensions, no others.", param="dimensions")
        fault = self.faults.take("embeddings", body.model, text)
        await exchange.suffer(fault)
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.first_token_s)

        embedded = await self.embedder.embed(body.texts)
        exchange.record.prompt_tokens = embedded.pieces
        vectors = [] if isinstance(fault, Empty) else _encoded(embedded, body)
        await exchange.answer(200, protocol.embeddings(body.model, vectors, embedded.pieces), fault=fault)


def _encoded(embedded: "Embedded", body: EmbeddingsBody) -> Sequence[str | list[float]]:
    if body.encoding_format == "float":
        rows: list[list[float]] = embedded.vectors.tolist()
        return rows
    return [base64.b64encode(row.tobytes()).decode() for row in embedded.vectors.astype("<f4", copy=False)]
