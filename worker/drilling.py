"""A fallback drill: each chain of each route is made to work by failing its first model on purpose."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from structlog.testing import capture_logs

from jobs.completions import Asked, complete_by
from jobs.decisions.prompting import Message
from jobs.errors import JobError, Permanent, Refused, Retryable
from jobs.ports import ChatModel, ChatRequest, Completed, Opening, Route, TextDelta, Work, World
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
    answered_by: str | None
    duration_ms: int
    problem: str | None = None


class FirstFails:
    """`jobs.ports.ChatModel` whose first call fails as told; the others are the model's own."""

    def __init__(self, model: ChatModel, fault: JobError) -> None:
        self._model = model
        self._fault: JobError | None = fault

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[TextDelta | Completed, None]:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise type(fault)(fault.code, fault.message)
        async for event in self._model.stream(request, call_id):
            yield event


class NoLedger:
    """`jobs.ports.Ledger` of calls that belong to no row: a drill's are seen at the provider alone."""

    @asynccontextmanager
    async def call(self, opening: Opening, *, opened: str | None = None) -> AsyncIterator[OpenCall]:
        yield OpenCall(opened or str(uuid4()), opening, time.monotonic)


class NoStream:
    async def write(self, text: str) -> None:
        """Nobody listens."""


class AllClosed:
    """`jobs.ports.Circuits` that are closed: a drill asks whom the chain names."""

    async def admits(self, provider: str) -> bool:  # noqa: ARG002 - whoever it is
        return True

    async def record(self, provider: str, code: str | None) -> None:
        """A failure on purpose says nothing of a provider."""


async def drill(route: Route, cause: str, world: World) -> Drilled:
    """`world` is of a drill: its model is a `FirstFails`."""
    began_s = time.monotonic()
    try:
        with capture_logs():  # a warning of what fails on purpose would be noise; what matters is in the answer
            answered_by, problem = (await complete_by(route, ASKED, _work(), world)).route, None
    except JobError as error:
        answered_by, problem = None, f"{error.code}: {error.message}"
    return Drilled(route.name, cause, answered_by, round(1000 * (time.monotonic() - began_s)), problem)


def chains_of(routes: Mapping[str, Route]) -> Sequence[tuple[Route, str]]:
    """Each route with the name of each of its chains that leads somewhere."""
    return [(route, cause) for route in routes.values() for cause in FAULTS if getattr(route.chains, cause)]


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
        first_call_id=None,
    )
