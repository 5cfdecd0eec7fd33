"""Models behind OpenAI's chat completions and embeddings, of whatever provider speaks them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types import Embedding

from jobs.errors import JobError, Permanent, Retryable
from jobs.ports import ChatEvent, ChatRequest, Completed, Embedded, ModelName, TextDelta, Usage, Vectors
from worker.adapters.completion_chunks import Chunk, chunk_of, count_of
from worker.adapters.model_errors import cut, declined, provider_errors_translated
from worker.telemetry import ModelSpan, model_span

DIMENSIONS = 384  # as in the schema: vector(384)
TEXTS_PER_REQUEST = 64
CALL_HEADER = "X-Client-Request-Id"  # OpenAI logs it: platform.openai.com/docs/api-reference/debugging-requests

Clients = Mapping[str, AsyncOpenAI]  # by the names of providers
Chunks = AsyncStream[object]
END = object()  # of a stream

# Why a stream ended, beside OpenAI's reasons: of Mistral and DeepSeek (their pages, November 2026), vLLM ("abort", its
# issue 57082), Gemini ("content_filter: RECITATION") and Zhipu (not looked up). Any other ends a whole answer.
BROKE_OFF = frozenset({"error", "insufficient_system_resource", "network_error", "abort"})
DECLINED = ("content_filter", "sensitive")
FULL = frozenset({"length", "model_length"})


def openai_client(base_url: str, api_key: str, *, connect_timeout_s: float = 5.0) -> AsyncOpenAI:
    """A client that neither retries nor waits on its own: the executor retries, and each call has its deadlines."""
    timeout = openai.Timeout(None, connect=connect_timeout_s)
    return AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=timeout)


class OpenAIChat:
    """`jobs.ports.ChatModel`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        """As the port says. Whoever stops reading closes the connection, and the provider may stop writing."""
        deadlines = Deadlines.of(request)
        with model_span("chat", request.model) as span:
            async with await self._open(request, call_id, deadlines) as chunks:
                tally = Tally()
                try:
                    while (chunk := await _next(chunks, request.model, deadlines, tally)) is not None:
                        if text := tally.take(chunk):
                            if tally.texts == 1:
                                span.first_chunk(deadlines.elapsed_s())
                            yield TextDelta(text)
                    yield _completed(tally, request.model, span)
                except JobError:
                    if tally.usage is not None:
                        yield tally.usage
                    raise

    async def _open(self, request: ChatRequest, call_id: str, deadlines: "Deadlines") -> Chunks:
        client = self._clients.get(request.model.provider)
        if client is None:
            raise Permanent("model.not_found", f"there is no provider {request.model.provider!r}")
        with provider_errors_translated(request.model):
            async with asyncio.timeout_at(deadlines.first_token):
                # In place of client.chat.completions.create, which makes a pydantic model of each token: on a machine
                # that streams 20 answers at once that was a third of the worker's processor time.
                return await client.post(
                    "/chat/completions",
                    body=_body(request),
                    options={"headers": {CALL_HEADER: call_id}},
                    cast_to=object,
                    stream=True,
                    stream_cls=Chunks,
                )


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Moments on the event loop's clock. `total` counts from the request, the reader's own time included."""

    began: float
    first_token: float
    total: float

    @classmethod
    def of(cls, request: ChatRequest) -> "Deadlines":
        now = asyncio.get_running_loop().time()
        total_s = request.total_timeout_s
        return cls(now, now + min(request.first_token_timeout_s, total_s), now + total_s)

    def of_next(self, tally: "Tally") -> float:
        return self.total if tally.texts else self.first_token

    def elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self.began


@dataclass(slots=True)
class Tally:
    """What the chunks so far have said apart from their text."""

    texts: int = 0
    finish: str | None = None
    is_refusal: bool = False
    usage: Usage | None = None
    model: str | None = None
    half: str = ""  # of a character that some servers cut in two: \ud83d in one chunk, \ude00 in the next

    def take(self, chunk: Chunk) -> str:
        """The chunk's text. The usage comes in a last chunk of its own, without choices; some send it earlier."""
        text = self.half + chunk.text
        self.half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = whole_characters(text.removesuffix(self.half))
        self.usage = chunk.usage or self.usage
        self.model = chunk.model or self.model
        self.finish = chunk.finish or self.finish
        self.is_refusal = self.is_refusal or chunk.is_refusal
        self.texts += bool(text)
        return text


def whole_characters(text: str) -> str:
    """The same with both halves of a character as one: no storage takes halves, and each would be replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


async def _next(chunks: Chunks, model: ModelName, deadlines: Deadlines, tally: Tally) -> Chunk | None:
    """The timeout lies around this await alone: around a `yield` it would interrupt the reader's work as well.

    A stream that breaks off after its finish has ended all the same: the answer is whole, and only its count missing.
    """
    try:
        with provider_errors_translated(model, is_answering=True):
            async with asyncio.timeout_at(deadlines.of_next(tally)):
                data = await anext(chunks, END)
            return None if data is END else chunk_of(data)
    except Retryable:
        if tally.finish is None:
            raise
        return None


def _completed(tally: Tally, model: ModelName, span: ModelSpan) -> Completed:
    if tally.model:
        span.answered_by(tally.model)
    if tally.usage is not None:
        span.used(tally.usage)
    if tally.finish is None or tally.finish in BROKE_OFF:
        raise cut(model)
    if tally.finish.startswith(DECLINED) or tally.is_refusal:
        raise declined()
    finish: Literal["stop", "length"] = "length" if tally.finish in FULL else "stop"
    return Completed(finish, tally.usage)


def _body(request: ChatRequest) -> dict[str, object]:
    return {
        "model": request.model.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_completion_tokens": request.max_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class OpenAIEmbedder:
    """`jobs.ports.Embedder`. `sends_dimensions`: the model's own vectors are longer, and it can shorten them."""

    def __init__(
        self, client: AsyncOpenAI, name: ModelName, *, sends_dimensions: bool, request_timeout_s: float = 30.0
    ) -> None:
        self._client = client
        self._name = name
        self._dimensions = DIMENSIONS if sends_dimensions else openai.omit
        self._timeout_s = request_timeout_s

    @property
    def name(self) -> ModelName:
        return self._name

    async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:
        """As the port says; 64 texts a request, one request after the other."""
        vectors: list[Vectors] = [np.empty((0, DIMENSIONS), np.float32)]
        used: Usage | None = Usage(0)
        with model_span("embeddings", self._name) as span:
            for start in range(0, len(texts), TEXTS_PER_REQUEST):
                page = await self._request(texts[start : start + TEXTS_PER_REQUEST], call_id)
                vectors.append(page.vectors)
                used = None if used is None or page.usage is None else Usage(used.tokens_in + page.usage.tokens_in)
            if used is not None:
                span.used(used)
        return Embedded(np.concatenate(vectors), used)

    async def _request(self, texts: Sequence[str], call_id: str) -> Embedded:
        with provider_errors_translated(self._name):
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.embeddings.create(
                    model=self._name.model,
                    input=list(texts),
                    dimensions=self._dimensions,
                    extra_headers={CALL_HEADER: call_id},
                )
            return _embedded(answer, len(texts))


def _embedded(answer: Any, count: int) -> Embedded:
    """The SDK checks no answer, and leaves None where a field is missing. Raises ValueError for what cannot be read."""
    try:
        tokens = None if answer.usage is None else count_of(answer.usage.prompt_tokens)
        return Embedded(_unit_vectors(answer.data, count), None if tokens is None else Usage(tokens))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"no answer with embeddings: {type(error).__name__}") from None


def _unit_vectors(data: Sequence[Embedding], count: int) -> Vectors:
    """(count, 384), unit length, in the order of the request."""
    ordered = sorted(data, key=lambda item: item.index)
    rows = [item.embedding for item in ordered]
    if [item.index for item in ordered] != list(range(count)):
        raise Permanent("embedding.incomplete", f"{count} texts were sent, {len(rows)} vectors came back")
    lengths = {len(row) for row in rows}
    if lengths != {DIMENSIONS}:
        message = f"the model's vectors have {sorted(lengths)} dimensions, the schema's {DIMENSIONS}"
        raise Permanent("embedding.dimensions", f"{message}; `sends_dimensions` asks some models for fewer")
    vectors = np.asarray(rows, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise Permanent("embedding.degenerate", "the model sent a vector without a direction")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit
