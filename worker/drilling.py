"""A fallback drill: each chain of each route is made to work by failing its models on purpose."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from structlog.testing import capture_logs

from jobs.completions import Asked, complete_by
from jobs.decisions.caching import CachedAnswer, Reuse
from jobs.decisions.falling_back import CACHE
from jobs.decisions.prompting import Message
from jobs.errors import JobError, Permanent, Refused, Retryable
from jobs.ports import ChatEvent, ChatModel, ChatRequest, Opened, Opening, Route, Work, World
from worker.ledger import OpenCall

FAULTS: Mapping[str, JobError] = {
    "errors": Retryable("model.unavailable", "failed on purpose"),
    "context_too_long": Permanent("model.context_too_long", "failed on purpose"),
    "refusals": Refused("model.refused", "failed on purpose"),
    "limits": Retryable("model.limited", "failed on purpose"),
}
ASKED = Asked("drill", (Message("user", "Answer with one word: are you there?"),), max_output_tokens=200)


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a chain did. Without an answer `problem` says why."""

    route: str
    cause: str  # the list of [fallbacks] that was tried
    failing: Literal["first", "all"]  # of its models
    answered_by: str | None  # a route, or cache
    duration_ms: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What is tried: that somebody answers when the first model fails, or that the cache does when all of them do."""

    route: Route
    cause: str
    failing: Literal["first", "all"]

    @property
    def reaches_cache(self) -> bool:
        """Whether the cache is asked, where the others do as they are told."""
        names = getattr(self.route.chains, self.cause)
        return CACHE in names and (self.failing == "all" or names[0] == CACHE)


@dataclass(frozen=True, slots=True)
class Kept:
    """The cached answer that stands by, or why there is none."""

    answer: CachedAnswer | None
    problem: str | None = None


class Failing:
    """`jobs.ports.ChatModel` whose first call fails as told, or each; the others are the model's own."""

    def __init__(self, model: ChatModel, chain: Chain) -> None:
        self._model = model
        self._fault = FAULTS[chain.cause]
        self._failing = chain.failing
        self._calls = 0

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        self._calls += 1
        if self._failing == "all" or self._calls == 1:
            raise type(self._fault)(self._fault.code, self._fault.message)
        async for event in self._model.stream(request, call_id):
            yield event


class NoLedger:
    """`jobs.ports.Ledger` of calls that belong to no row: a drill's are seen at the provider alone."""

    @asynccontextmanager
    async def call(self, opening: Opening, *, opened: Opened | None = None) -> AsyncIterator[OpenCall]:
        yield OpenCall(opened.id if opened else str(uuid4()), opening, time.monotonic)


class NoStream:
    async def write(self, text: str) -> None:
        """Nobody listens."""


class AllClosed:
    """`jobs.ports.Circuits` that are closed: a drill asks whom the chain names."""

    async def admits(self, provider: str) -> bool:  # noqa: ARG002 - whoever it is
        return True

    async def record(self, provider: str, code: str | None) -> None:
        """A failure on purpose says nothing of a provider."""


async def drill(chain: Chain, kept: Kept, world: World) -> Drilled:
    """`world` is of a drill: its model is `Failing`."""
    began_s = time.monotonic()
    standby = Reuse(kept.answer, "exact") if kept.answer is not None else None
    try:
        with capture_logs():  # a warning of what fails on purpose would be noise; what matters is in the answer
            completion = await complete_by(chain.route, ASKED, _work(), world, standby=standby)
        answered_by, problem = CACHE if completion.reused else completion.route, None
    except JobError as error:
        answered_by, problem = None, f"{error.code}: {error.message}"
    if chain.reaches_cache and kept.problem:
        problem = f"{CACHE}: {kept.problem}"
    duration_ms = round(1000 * (time.monotonic() - began_s))
    return Drilled(chain.route.name, chain.cause, chain.failing, answered_by, duration_ms, problem)


def chains_of(routes: Mapping[str, Route]) -> Sequence[Chain]:
    """Each chain of each route that leads somewhere; those that end at the cache once more, with all models failing."""
    return [chain for route in routes.values() for cause in FAULTS for chain in _chains(route, cause)]


def _chains(route: Route, cause: str) -> Iterator[Chain]:
    names = getattr(route.chains, cause)
    if names:
        yield Chain(route, cause, "first")
    if CACHE in names[1:]:
        yield Chain(route, cause, "all")


def _work() -> Work:
    return Work(
        id=str(uuid4()),
        attempt=1,
        tries=1,
        kind="drill",
        lane="interactive",
        tenant=None,
        user_id=None,
        input={},
        options={},
        created_at=datetime.now(UTC),
        first_call=None,
    )
