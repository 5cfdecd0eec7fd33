from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from jobs.decisions.prompting import Message
from jobs.errors import Postponed, Refused, Retryable
from jobs.ports import ChatEvent, ChatRequest, Completed, Embedded, ModelName, TextDelta, Usage
from tests.worker.adapters.test_limits_contract import Clock
from worker.adapters.memory import HashEmbedder, MemoryLimits
from worker.pacing import PacedChat, PacedEmbedder
from worker.ports import PerMinute

MODEL = ModelName("p", "m")
CALL = "the call's id"
REQUEST = ChatRequest(MODEL, (Message("user", "w " * 96),), 900, 1.0, 1.0)  # reserves 96 + 4 + 900 tokens


class Model:
    """Ends as it was told, after one word."""

    def __init__(self, ending: Completed | Exception) -> None:
        self.ending = ending
        self.calls = 0

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        assert (request, call_id) == (REQUEST, CALL)
        self.calls += 1
        if isinstance(self.ending, Exception):
            raise self.ending
        yield TextDelta("word")
        yield self.ending


class Fleet:
    """The limits, on a clock that sleeping moves."""

    def __init__(self, tokens: int | None = 12_000) -> None:
        self.clock = Clock()
        self.limits = MemoryLimits({MODEL: PerMinute(tokens=tokens)}, self.clock)
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await self.clock.go(seconds)

    def chat(self, model: Model) -> PacedChat:
        return PacedChat(model, self.limits, lambda text: len(text.split()), sleep=self.sleep)

    async def room(self) -> bool:
        return await self.limits.reserve(MODEL, 0, patience_s=0.0) == 0


async def answered(chat: PacedChat) -> list[ChatEvent]:
    async with aclosing(chat.stream(REQUEST, CALL)) as events:
        return [event async for event in events]


async def test_a_call_is_reserved_with_its_longest_answer_and_settled_with_what_it_used() -> None:
    fleet = Fleet()
    chat = fleet.chat(Model(Completed("stop", Usage(100, 20))))
    events = await answered(chat)
    assert [type(event) for event in events] == [TextDelta, Completed]
    for _ in range(8):
        await answered(chat)
    assert fleet.slept_s == []  # nine calls of 120 tokens; two reservations of 1,000 would have filled the burst


class Declining(Model):
    """Tells what it used, and declines."""

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        assert (request, call_id) == (REQUEST, CALL)
        yield TextDelta("word")
        yield Usage(100, 20)
        raise Refused("model.refused", "no")


async def test_a_call_that_failed_is_settled_with_what_the_provider_said() -> None:
    fleet = Fleet()
    chat = fleet.chat(Declining(Completed("stop", None)))
    for _ in range(9):
        with pytest.raises(Refused):
            await answered(chat)
    assert fleet.slept_s == []


async def test_a_call_waits_for_its_turn_in_its_place() -> None:
    fleet = Fleet()
    chat = fleet.chat(Model(Completed("stop", Usage(1000, 0))))
    for _ in range(4):
        await answered(chat)
    assert sum(fleet.slept_s) == pytest.approx(10.0)  # 200 tokens a second, and 1,000 of them saved up


class Hurried(Model):
    """Keeps the time that each call was given."""

    def __init__(self) -> None:
        super().__init__(Completed("stop", Usage(1000, 0)))
        self.given_s: list[float] = []

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:  # noqa: ARG002 - the port's
        self.given_s.append(request.total_timeout_s)
        yield TextDelta("word")
        yield self.ending  # type: ignore[misc] # no error


async def test_waiting_for_a_turn_takes_from_the_time_that_a_chain_has_left() -> None:
    fleet, model = Fleet(), Hurried()
    chat, asked = fleet.chat(model), replace(REQUEST, total_timeout_s=60.0, left_s=8.0)
    for _ in range(2):  # of 1,000 tokens, and 1,000 are saved up; then each takes 5 s
        async with aclosing(chat.stream(asked, CALL)) as events:
            assert [type(event) async for event in events] == [TextDelta, Completed]
    assert sum(fleet.slept_s) == 0
    async with aclosing(chat.stream(asked, CALL)) as events:
        await anext(events)
    assert sum(fleet.slept_s) == pytest.approx(5.0)
    assert model.given_s == [8.0, 8.0, pytest.approx(3.0)]
    with pytest.raises(Postponed):
        await anext(chat.stream(replace(asked, left_s=4.0), CALL))


async def test_a_row_whose_turn_is_too_far_off_is_postponed_untried() -> None:
    fleet = Fleet(tokens=600)  # 100 s a call
    model = Model(Completed("stop", None))
    await answered(fleet.chat(model))
    with pytest.raises(Postponed, match="limit of the fleet") as caught:
        await answered(fleet.chat(model))
    assert caught.value.wait_s == pytest.approx(95.0)
    assert model.calls == 1


async def test_a_providers_refusal_slows_everybody_down_for_as_long_as_it_says() -> None:
    fleet = Fleet(tokens=None)
    with pytest.raises(Retryable, match="slow down"):
        await answered(fleet.chat(Model(Retryable("model.rate_limited", "slow down", wait_s=7.0))))
    other = fleet.chat(Model(Completed("stop", None)))
    await answered(other)
    assert fleet.slept_s == [7.0]


@pytest.mark.parametrize(("says_s", "slept_s"), [(4.0, [5.0, 4.0]), (26.0, [5.0])])
async def test_who_waits_for_a_turn_waits_on_when_the_provider_refuses_somebody_meanwhile(
    says_s: float, slept_s: list[float]
) -> None:
    fleet, model = Fleet(), Model(Completed("stop", None))
    await fleet.limits.reserve(MODEL, 2_000, patience_s=0.0)  # the next turn is 5 s off

    async def sleep(seconds: float) -> None:
        await fleet.sleep(seconds)
        if len(fleet.slept_s) == 1:
            await fleet.limits.refused(MODEL, says_s)

    paced = PacedChat(model, fleet.limits, len, sleep=sleep)
    if sum(slept_s) < says_s:  # longer than a place waits: the row goes back
        with pytest.raises(Postponed) as caught:
            await answered(paced)
        assert caught.value.wait_s == pytest.approx(says_s)
    else:
        await answered(paced)
    assert fleet.slept_s == pytest.approx(slept_s)
    assert model.calls == (sum(slept_s) > says_s)


async def test_other_errors_slow_nobody_down_and_give_their_tokens_back() -> None:
    fleet = Fleet(tokens=600)
    with pytest.raises(Retryable):
        await answered(fleet.chat(Model(Retryable("model.unavailable", "gone"))))
    assert await fleet.room()


async def test_a_canceled_wait_gives_its_tokens_back() -> None:
    fleet = Fleet()
    await fleet.limits.reserve(MODEL, 2_000, patience_s=0.0)

    async def canceled(_seconds: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await answered(PacedChat(Model(Completed("stop", None)), fleet.limits, len, sleep=canceled))
    await fleet.clock.go(5.0)
    assert await fleet.room()


async def test_embeddings_keep_to_the_limits_of_their_model() -> None:
    fleet = Fleet()

    class Embedder(HashEmbedder):
        async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:
            embedded = await HashEmbedder.embed(self, texts, call_id)
            return Embedded(embedded.vectors, Usage(1_000))

    embedder = Embedder()
    fleet.limits = MemoryLimits({embedder.name: PerMinute(tokens=12_000)}, fleet.clock)
    paced = PacedEmbedder(embedder, fleet.limits, lambda text: len(text.split()), sleep=fleet.sleep)
    assert paced.name == embedder.name
    for _ in range(3):
        assert (await paced.embed(["one two"], CALL)).vectors.shape == (1, 384)
    assert sum(fleet.slept_s) == pytest.approx(5.0)
