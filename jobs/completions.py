"""What every job asks of a chat model: a text, from the first route that answers."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from jobs.decisions.falling_back import Failure, cause_of, next_routes, telling_error
from jobs.decisions.prompting import Message
from jobs.errors import JobError, Refused, Retryable
from jobs.ports import Call, ChatRequest, Completed, Route, Work, World

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, whoever answers."""

    purpose: str  # as the ledger names it
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None  # the asker's own limit; a route's holds as well

    def of(self, route: Route) -> ChatRequest:
        most = route.max_output_tokens
        return ChatRequest(
            model=route.model,
            messages=self.messages,
            max_output_tokens=min(most, self.max_output_tokens or most),
            first_token_timeout_s=route.first_token_timeout_s,
            total_timeout_s=route.total_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    ending: Completed
    route: str  # that answered
    meant_for: str  # the route that was chosen
    failures: tuple[Failure, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What the asker should know about the text."""
        warnings = ["answer.cut: the limit of output tokens was reached"] if self.ending.finish == "length" else []
        if self.route != self.meant_for:
            failed = ", ".join(f"{failure.route} failed ({failure.code})" for failure in self.failures)
            why = failed or f"the provider of {self.meant_for} is known to be down"
            warnings.append(f"route.fell_back: {self.route} answered, because {why}")
        return warnings


async def complete_by(first: Route, asked: Asked, work: Work, world: World, *, opened: str | None = None) -> Completion:
    """The text of `first`, or of the first route in its chains that answers; passed on to the client while it comes.

    Once a client has seen text no other route goes on with it: the error ends the attempt, and the next attempt, for
    which clients start anew, passes over the route that broke off. `opened` is the first call's ledger row, where it
    has one already; each further call gets its own. Raises what tells best what happens next, of all the errors.
    """
    failures, errors = _left_over(first, work), list[JobError]()
    while candidates := next_routes(first.name, first.chains, failures):
        route = await _admitted(candidates, world)
        texts: list[str] = []
        try:
            async with world.ledger.call(route.opening(asked.purpose), opened=opened) as call:
                ending = await _stream(asked.of(route), call, texts, world)
            await world.circuits.record(route.model.provider, None)
            return Completion("".join(texts), ending, route.name, first.name, tuple(failures))
        except JobError as error:
            await world.circuits.record(route.model.provider, error.code)
            if (
                isinstance(error, Refused) and cause_of(error.code) is None
            ):  # a budget: the row may still come to its answer
                raise telling_error([*errors, error]) from error
            if cause_of(error.code) is None:
                raise
            failures.append(Failure(route.name, error.code))
            left = next_routes(first.name, first.chains, failures)
            log.warning("route.failed", route=route.name, code=error.code, next=left[0] if left else None)
            if texts:
                raise _for_the_next_attempt(error, left) from error
            errors.append(error)
            opened = None
    raise telling_error(errors)


async def _stream(request: ChatRequest, call: Call, texts: list[str], world: World) -> Completed:
    """How the stream ended; its pieces are added to `texts` as they come."""
    call.sends([message.content for message in request.messages])
    async with aclosing(world.model.stream(request, call.id)) as events:
        async for event in events:
            if isinstance(event, Completed):
                if event.usage is not None:
                    call.used(event.usage)
                return event
            call.received(event.text)
            texts.append(event.text)
            await world.stream.write(event.text)
    raise Retryable("model.stream_cut", "the model's stream ended before it was complete")


def _left_over(first: Route, work: Work) -> list[Failure]:
    """What earlier attempts say against routes; nothing once they have tried them all."""
    return list(work.broken_off) if next_routes(first.name, first.chains, work.broken_off) else []


async def _admitted(candidates: Sequence[str], world: World) -> Route:
    """The first whose provider's circuit is closed. Where all are open the first is asked all the same: it may work."""
    for name in candidates:
        if await world.circuits.admits(world.routes[name].model.provider):
            return world.routes[name]
    return world.routes[candidates[0]]


def _for_the_next_attempt(error: JobError, left: Sequence[str]) -> JobError:
    """Final errors are worth another attempt while a route is left."""
    return error if isinstance(error, Retryable) or not left else Retryable(error.code, error.message)
