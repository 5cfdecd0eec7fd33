"""What every job asks of a chat model: a text, from the first route that answers, or one that was given before."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from jobs.decisions.caching import Reuse
from jobs.decisions.falling_back import CACHE, Failure, cause_of, next_routes, telling_error
from jobs.decisions.prompting import Message
from jobs.errors import JobError, Refused, Retryable
from jobs.ports import Call, ChatRequest, Completed, Opening, Route, Work, World

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, whoever answers."""

    purpose: str  # as the ledger names it
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None  # the asker's own limit; a route's holds as well

    def of(self, route: Route, left_s: float) -> ChatRequest:
        most = route.max_output_tokens
        return ChatRequest(
            model=route.model,
            messages=self.messages,
            max_output_tokens=min(most, self.max_output_tokens or most),
            first_token_timeout_s=min(route.first_token_timeout_s, left_s),
            total_timeout_s=min(route.total_timeout_s, left_s),
        )


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    ending: Completed
    route: str  # that answered, or whose answer was given again
    meant_for: str  # the route that was chosen
    failures: tuple[Failure, ...] = ()
    reused: Reuse | None = None  # the text is this one's

    @property
    def warnings(self) -> list[str]:
        """What the asker should know about the text."""
        warnings = ["answer.cut: the limit of output tokens was reached"] if self.ending.finish == "length" else []
        failed = ", ".join(f"{failure.route} failed ({failure.code})" for failure in self.failures)
        if self.reused is not None:
            warnings.append(f"{self.reused.remark}, because {failed}" if failed else self.reused.remark)
        elif self.route != self.meant_for:
            why = failed or f"the provider of {self.meant_for} is known to be down"
            warnings.append(f"route.fell_back: {self.route} answered, because {why}")
        return warnings


async def complete_by(
    first: Route,
    asked: Asked,
    work: Work,
    world: World,
    *,
    opened: str | None = None,
    standby: Reuse | None = None,
) -> Completion:
    """The text of `first`, or of the first route in its chains that answers; passed on to the client while it comes.

    Once a client has seen text no other route goes on with it: the error ends the attempt, and the next attempt, for
    which clients start anew, passes over the route that broke off. `opened` is the first call's ledger row, where it
    has one already; each further call gets its own. `standby`: what `cache` stands for in a chain.
    Raises what tells best what happens next, of all the errors.
    """
    failures, errors = _left_over(first, work, standby), list[JobError]()
    ends_s = _now_s() + first.chains.deadline_s
    while candidates := _askable(next_routes(first.name, first.chains, failures), standby, ends_s - _now_s()):
        name = await _admitted(candidates, world)
        if name == CACHE and standby is not None:
            return await give_again(standby, first, world, opened=opened, failures=failures)
        route, texts = world.routes[name], list[str]()
        try:
            async with world.ledger.call(route.opening(asked.purpose), opened=opened) as call:
                ending = await _stream(asked.of(route, ends_s - _now_s()), call, texts, world)
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
            left = _askable(next_routes(first.name, first.chains, failures), standby, ends_s - _now_s())
            log.warning("route.failed", route=route.name, code=error.code, next=left[0] if left else None)
            if texts:
                raise _for_the_next_attempt(error, left) from error
            errors.append(error)
            opened = None
    raise telling_error(errors)


async def give_again(
    reuse: Reuse, route: Route, world: World, *, opened: str | None = None, failures: Sequence[Failure] = ()
) -> Completion:
    """The text of the cached answer, passed on to the client, and what that saved in the ledger."""
    async with world.ledger.call(Opening("cache", route.model, route.name), opened=opened) as call:
        call.spared(reuse.cached)
        await world.stream.write(reuse.cached.answer)
    return Completion(
        reuse.cached.answer, Completed("stop", None), route.name, route.name, tuple(failures), reused=reuse
    )


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


def _left_over(first: Route, work: Work, standby: Reuse | None) -> list[Failure]:
    """What earlier attempts say against routes; nothing once they have tried all that can answer."""
    left = _askable(next_routes(first.name, first.chains, work.broken_off), standby, first.chains.deadline_s)
    return list(work.broken_off) if left else []


def _askable(names: Sequence[str], standby: Reuse | None, left_s: float) -> list[str]:
    """Those who can answer: routes while there is time left, `cache` while there is a cached answer."""
    return [name for name in names if (standby is not None if name == CACHE else left_s > 0)]


async def _admitted(candidates: Sequence[str], world: World) -> str:
    """The first whose provider's circuit is closed. Where all are open the first is asked all the same: it may work."""
    for name in candidates:
        if name == CACHE or await world.circuits.admits(world.routes[name].model.provider):
            return name
    return candidates[0]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _for_the_next_attempt(error: JobError, left: Sequence[str]) -> JobError:
    """Final errors are worth another attempt while a route is left."""
    return error if isinstance(error, Retryable) or not left else Retryable(error.code, error.message)
