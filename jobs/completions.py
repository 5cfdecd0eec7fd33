"""What every job asks of a chat model: a text, from the first route that answers, or one that was given before.

A route with a cascade is asked first; its answer is held back until it is checked, and where a check fails a stronger
route answers in its place.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from jobs.decisions.caching import Reuse
from jobs.decisions.checking import Answer, Cascade, Check, failed_checks
from jobs.decisions.falling_back import CACHE, Failure, cause_of, next_routes, telling_error
from jobs.decisions.prompting import Message
from jobs.errors import JobError, Permanent, Refused, Retryable
from jobs.ports import AnswerStream, Call, ChatRequest, Completed, Opened, Opening, Route, TextDelta, Usage, Work, World

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, whoever answers."""

    purpose: str  # as the ledger names it
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None  # the asker's own limit; a route's holds as well
    passages: int | None = None  # numbered in the prompt from 1, to be cited; None: there are none to cite

    def tokens(self, world: World) -> int:
        return sum(world.count_tokens(message.content) for message in self.messages)

    def of(self, route: Route, left_s: float) -> ChatRequest:
        most = route.max_output_tokens
        return ChatRequest(
            model=route.model,
            messages=self.messages,
            max_output_tokens=min(most, self.max_output_tokens or most),
            first_token_timeout_s=min(route.first_token_timeout_s, left_s),
            total_timeout_s=min(route.total_timeout_s, left_s),
            left_s=left_s,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    ending: Completed
    route: str  # that answered, or whose answer was given again
    meant_for: str  # the route that was chosen
    failures: tuple[Failure, ...] = ()
    reused: Reuse | None = None  # the text is this one's
    failed_checks: tuple[Check, ...] = ()  # of the answer that was held back
    unchecked: str | None = None  # the text is that answer all the same, and why

    def reason(self, chosen: str) -> str:
        """Why its route answered. `chosen`: why it was chosen; more is to be said of a text that is another's."""
        if self.reused is not None:
            return f"cache:{self.reused.how}"
        return f"cascade:{'+'.join(self.failed_checks)}" if self.failed_checks and not self.unchecked else chosen

    @property
    def warnings(self) -> list[str]:
        """What the asker should know about the text."""
        warnings = ["answer.cut: the limit of output tokens was reached"] if self.ending.finish == "length" else []
        if self.unchecked is not None:
            warnings.append(f"cascade.unchecked: {', '.join(self.failed_checks)} failed, {self.unchecked}")
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
    opened: Opened | None = None,
    standby: Reuse | None = None,
) -> Completion:
    """The text of `first`, or of the first route in its chains that answers; passed on to the client while it comes.

    Once a client has seen text no other route goes on with it: the error ends the attempt, and the next attempt, for
    which clients start anew, passes over the route that broke off. Of an answer that is held back they have seen none.
    A route that the budget forbids is passed over. `opened`: the first call's ledger row, where it has one already;
    each further call gets its own. `standby`: what `cache` stands for in a chain. Raises what tells best what happens
    next, of all the errors.
    """
    failures, errors, cascade = _left_over(first, work, standby), list[JobError](), cascade_of(first, work)
    unaffordable: dict[str, Refused] = {}
    deadline = _Deadline(_now_s(), first.chains.deadline_s)
    while candidates := _askable(first, failures, standby, deadline.left_s, without=unaffordable):
        name = await _admitted(candidates, world)
        if name == CACHE and standby is not None:
            return await give_again(standby, first, world, opened=opened, failures=failures)
        route = world.routes[name]
        text = _Text(world.stream, cascade.checks if cascade is not None and name == first.name else ())
        try:
            ending, failed = await _ask(route, asked, text, world, deadline, opened=opened)
        except JobError as error:
            if isinstance(error, Refused) and cause_of(error.code) is None:  # a budget, which others may fit in
                if name == first.name:
                    raise telling_error([*errors, error]) from error
                unaffordable[name], opened = error, None
                continue
            if cause_of(error.code) is None:
                raise
            failures.append(Failure(route.name, error.code))
            left = _askable(first, failures, standby, deadline.left_s, without=unaffordable)
            log.warning("route.failed", route=route.name, code=error.code, next=left[0] if left else None)
            if text.was_seen:
                raise _for_the_next_attempt(error, left) from error
            errors.append(error)
            opened = None
        else:
            completion = Completion(text.whole, ending, name, first.name, tuple(failures), failed_checks=failed)
            if cascade is not None and failed:
                return await _escalated(completion, world.routes[cascade.to], asked, work, world, deadline)
            await text.release()
            return completion
    raise telling_error([*errors, *unaffordable.values()])


def cascade_of(route: Route, work: Work) -> Cascade | None:
    """What checks the route's answer to this row. Only where the asker left it to us: who wants it fast would wait for
    the whole answer, and perhaps for another; who wants the best has a route for it.
    """
    return route.cascade if work.options.get("quality", "auto") == "auto" else None


async def _escalated(
    held: Completion, to: Route, asked: Asked, work: Work, world: World, deadline: "_Deadline"
) -> Completion:
    """What the stronger route answers; where it is not to be had, the answer that was held back, with a remark."""
    why_not, text = await _why_not(to, work, world, left_s=deadline.left_s), _Text(world.stream)
    if why_not is None:
        log.info("route.escalated", route=held.route, to=to.name, checks=list(held.failed_checks))
        try:
            ending, _ = await _ask(to, asked, text, world, deadline)
        except (Retryable, Permanent, Refused) as error:
            log.warning("route.failed", route=to.name, code=error.code, next=held.route)
            if text.was_seen:
                raise _for_the_next_attempt(error, [held.route]) from error
            why_not = error.code
        else:
            return Completion(text.whole, ending, to.name, to.name, held.failures, failed_checks=held.failed_checks)
    await world.stream.write(held.text)
    return replace(held, unchecked=f"and {to.name} was not to be had ({why_not})")


async def _why_not(to: Route, work: Work, world: World, *, left_s: float) -> str | None:
    """What keeps the stronger route from being asked. One that broke off before is not tried again: this would go on
    for as long as the row has tries, and each of them costs both answers.
    """
    for failure in work.broken_off:
        if failure.route == to.name:
            return failure.code
    if left_s <= 0:
        return "no time was left"
    return None if await world.circuits.admits(to.model.provider) else "its provider is known to be down"


async def give_again(
    reuse: Reuse, route: Route, world: World, *, opened: Opened | None = None, failures: Sequence[Failure] = ()
) -> Completion:
    """The text of the cached answer, passed on to the client, and what that saved in the ledger."""
    async with world.ledger.call(Opening("cache", route.model, route.name), opened=opened) as call:
        call.spared(reuse.cached)
        await world.stream.write(reuse.cached.answer)
    return Completion(
        reuse.cached.answer, Completed("stop", None), route.name, route.name, tuple(failures), reused=reuse
    )


@dataclass(frozen=True, slots=True)
class _Deadline:
    """Of the routes that answer one row together, in the event loop's seconds."""

    began_s: float
    whole_s: float

    @property
    def left_s(self) -> float:
        return self.began_s + self.whole_s - _now_s()

    def leaves_time_for(self, route: Route) -> bool:
        """Whether the route has about the time that it always has, and not what others left it."""
        return self.left_s >= 0.9 * min(route.first_token_timeout_s, self.whole_s)


@dataclass(slots=True)
class _Text:
    """The text of one call, on its way to the client; held back where there are checks that it must pass."""

    stream: AnswerStream
    checks: tuple[Check, ...] = ()
    pieces: list[str] = field(default_factory=list)

    @property
    def whole(self) -> str:
        return "".join(self.pieces)

    @property
    def was_seen(self) -> bool:
        return bool(self.pieces) and not self.checks

    async def add(self, piece: str) -> None:
        self.pieces.append(piece)
        if not self.checks:
            await self.stream.write(piece)

    async def release(self) -> None:
        if self.checks:
            await self.stream.write(self.whole)


async def _ask(
    route: Route,
    asked: Asked,
    text: _Text,
    world: World,
    deadline: _Deadline,
    *,
    opened: Opened | None = None,
) -> tuple[Completed, tuple[Check, ...]]:
    """How the stream ended, and which checks its text failed. The ledger hears of it, and the circuit, but for a route
    that others left too little time: that says nothing of its provider.
    """
    has_time = deadline.leaves_time_for(route)
    opening = route.opening(asked.purpose, prompt_tokens=asked.tokens(world) if route.price is not None else 0)
    try:
        async with world.ledger.call(opening, opened=opened) as call:
            if text.checks:
                call.held_back()
            ending = await _stream(asked.of(route, deadline.left_s), call, text, world)
            failed = failed_checks(Answer(text.whole, ending.finish, asked.passages), text.checks)
            if text.checks:
                call.checked(failed)
    except JobError as error:
        if has_time or error.code != "model.timeout":
            await world.circuits.record(route.model.provider, error.code)
        raise
    await world.circuits.record(route.model.provider, None)
    return ending, failed


async def _stream(request: ChatRequest, call: Call, text: _Text, world: World) -> Completed:
    """How the stream ended; its pieces are added to `text` as they come."""
    call.sends([message.content for message in request.messages])
    async with aclosing(world.model.stream(request, call.id)) as events:
        async for event in events:
            match event:
                case Completed():
                    if event.usage is not None:
                        call.used(event.usage)
                    return event
                case Usage():
                    call.used(event)
                case TextDelta():
                    call.received(event.text)
                    await text.add(event.text)
    raise Retryable("model.stream_cut", "the model's stream ended before it was complete")


def _left_over(first: Route, work: Work, standby: Reuse | None) -> list[Failure]:
    """What earlier attempts say against routes; nothing once they have tried all that can answer."""
    left = _askable(first, work.broken_off, standby, first.chains.deadline_s)
    return list(work.broken_off) if left else []


def _askable(
    first: Route, failures: Sequence[Failure], standby: Reuse | None, left_s: float, *, without: Collection[str] = ()
) -> list[str]:
    """Who can answer next: routes while there is time left, `cache` while there is a cached answer."""
    names = next_routes(first.name, first.chains, failures, without=without)
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
