"""Models whose calls keep to the fleet's limits: reserved before they are made, settled with what they used.

A place waits a while for its turn; where the turn is further off the row goes back to the queue, untried. A provider's
429 is told to the limits, so that the whole fleet slows down and not this worker alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from jobs.errors import Postponed, Retryable
from jobs.ports import ChatEvent, ChatModel, ChatRequest, Completed, Embedded, Embedder, ModelName, TextDelta
from worker.ports import Limits

log = structlog.get_logger()

PATIENCE_S = 30.0
WAIT_AFTER_429_S = 2.0  # where the provider does not say how long
TOKENS_PER_MESSAGE = 4  # what a chat's format adds to each

Sleep = Callable[[float], Awaitable[None]]


class PacedChat:
    """`jobs.ports.ChatModel`. A call reserves its prompt, as tiktoken counts it, and all that it may write."""

    def __init__(
        self, model: ChatModel, limits: Limits, count_tokens: Callable[[str], int], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._model = model
        self._limits = limits
        self._count_tokens = count_tokens
        self._sleep = sleep

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        reserved = self._tokens(request)
        patience_s = min(PATIENCE_S, request.left_s)
        waited_s = await _wait_for_turn(self._limits, request.model, reserved, self._sleep, patience_s)
        in_time = replace(request, total_timeout_s=min(request.total_timeout_s, request.left_s - waited_s))
        used = 0  # of a call that failed the provider counts nothing, as far as we know
        try:
            async with aclosing(self._model.stream(in_time, call_id)) as events:
                async for event in events:
                    told = event.usage if isinstance(event, Completed) else event
                    used = reserved if told is None or isinstance(told, TextDelta) else told.tokens_in + told.tokens_out
                    yield event
        except Retryable as error:
            await _tell(self._limits, request.model, error)
            raise
        finally:
            await self._limits.settle(request.model, reserved=reserved, used=used)

    def _tokens(self, request: ChatRequest) -> int:
        if self._limits.of(request.model).tokens is None:
            return 0
        prompt = sum(self._count_tokens(message.content) + TOKENS_PER_MESSAGE for message in request.messages)
        return prompt + request.max_output_tokens


class PacedEmbedder:
    """`jobs.ports.Embedder`."""

    def __init__(
        self, embedder: Embedder, limits: Limits, count_tokens: Callable[[str], int], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._embedder = embedder
        self._limits = limits
        self._count_tokens = count_tokens
        self._sleep = sleep

    @property
    def name(self) -> ModelName:
        return self._embedder.name

    async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:
        is_counted = self._limits.of(self.name).tokens is not None
        reserved = sum(self._count_tokens(text) for text in texts) if is_counted else 0
        await _wait_for_turn(self._limits, self.name, reserved, self._sleep, PATIENCE_S)
        used = 0
        try:
            embedded = await self._embedder.embed(texts, call_id)
            used = reserved if embedded.usage is None else embedded.usage.tokens_in
        except Retryable as error:
            await _tell(self._limits, self.name, error)
            raise
        finally:
            await self._limits.settle(self.name, reserved=reserved, used=used)
        return embedded


async def _wait_for_turn(limits: Limits, model: ModelName, tokens: int, sleep: Sleep, patience_s: float) -> float:
    """The seconds that it took. Raises Postponed where the turn is too far off."""
    wait_s = await limits.reserve(model, tokens, patience_s=patience_s)
    if wait_s < 0:
        raise _postponed(model, -wait_s)
    try:
        return await _sleep_until_turn(limits, model, wait_s, sleep, patience_s)
    except BaseException:
        await limits.settle(model, reserved=tokens, used=0)
        raise


async def _sleep_until_turn(limits: Limits, model: ModelName, wait_s: float, sleep: Sleep, patience_s: float) -> float:
    """While calls wait for their turns the provider may refuse one: the others wait on, and do not run into it."""
    left_s = patience_s
    while wait_s > 0:
        if wait_s > left_s:
            raise _postponed(model, wait_s)
        log.debug("model.paced", wait_s=round(wait_s, 3))
        await sleep(wait_s)
        left_s -= wait_s
        wait_s = await limits.held_back_s(model)
    return patience_s - left_s


def _postponed(model: ModelName, wait_s: float) -> Postponed:
    return Postponed("model.limited", f"{model.provider}/{model.model} is at its limit of the fleet", wait_s=wait_s)


async def _tell(limits: Limits, model: ModelName, error: Retryable) -> None:
    if error.code == "model.rate_limited":
        await limits.refused(model, WAIT_AFTER_429_S if error.wait_s is None else error.wait_s)
