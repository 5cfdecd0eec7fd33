"""A cascade over scripted models: the first answer is held back, checked, and given or replaced."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.completions import Asked, Completion, complete_by
from jobs.decisions.checking import Cascade, Check
from jobs.decisions.falling_back import Chains, Failure
from jobs.decisions.prompting import Message
from jobs.decisions.routing import DEFAULT_ROUTING
from jobs.errors import AttemptLost, Permanent, Refused, Retryable
from jobs.ports import ChatEvent, ChatRequest, Completed, ModelName, Route, TextDelta, Usage, Work, World
from worker.adapters.memory import (
    HashEmbedder,
    MemoryCircuits,
    MemoryDatabase,
    MemoryExamples,
    MemoryKnowledge,
    MemoryRows,
)
from worker.adapters.memory.models import Event
from worker.ledger import AttemptLedger
from worker.ports import Closing, Requeued

RIGHT = (TextDelta("There are 12 * 3 "), TextDelta("= 36 cups."), Completed("stop", Usage(9, 3)))
WRONG = (TextDelta("There are 12 * 3 "), TextDelta("= 35 cups."), Completed("stop", Usage(9, 3)))
STRONG = (TextDelta("36 "), TextDelta("cups."), Completed("stop", Usage(9, 2)))
DOWN = (Retryable("model.unavailable", "down"),)
BREAKS_OFF = (TextDelta("36 "), Retryable("model.stream_cut", "cut"))
ASKED = Asked("answer", (Message("user", "How many cups?"),))
CHAINS = Chains(errors=("strong",), refusals=("strong",))


@dataclass
class Models:
    """Plays, for each model, one script a request."""

    scripts: dict[str, list[Iterable[Event]]]
    asked: list[str] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)
    pause: asyncio.Event | None = None  # after each text
    paused: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:  # noqa: ARG002 - there is nobody to tell
        self.asked.append(request.model.model)
        self.limits_s.append(request.total_timeout_s)
        for event in self.scripts[request.model.model].pop(0):
            if isinstance(event, Exception):
                raise event
            yield event
            if self.pause is not None:
                self.paused.set()
                await self.pause.wait()


@dataclass
class Heard:
    texts: list[str] = field(default_factory=list)

    async def write(self, text: str) -> None:
        self.texts.append(text)


@dataclass
class Stage:
    """A row, and what its attempts ask and show."""

    models: Models
    options: Mapping[str, Any] = field(default_factory=dict)
    chains: Chains = CHAINS
    cascade: Cascade | None = field(default_factory=lambda: Cascade("strong", ("ending", "arithmetic")))
    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    circuits: MemoryCircuits = field(default_factory=MemoryCircuits)
    heard: Heard = field(default_factory=Heard)
    reserved_usd: float | None = None  # of the strong route
    closings: list[Closing] = field(default_factory=list)
    work: Work | None = None

    def __post_init__(self) -> None:
        self.rows = MemoryRows(self.database, worker="w", lease_s=30, opens={})
        self.id = self.database.insert(input={}, options=self.options, user_id="owner")

    def routes(self) -> dict[str, Route]:
        routes = {
            "default": Route("default", ModelName("local", "cheap"), 100, 1000, 10.0, 20.0, self.chains),
            "strong": Route("strong", ModelName("other", "strong"), 100, 1000, 10.0, 20.0),
        }
        return {
            "default": replace(routes["default"], cascade=self.cascade),
            "strong": replace(routes["strong"], reserved_usd=self.reserved_usd),
        }

    async def attempt(self, asked: Asked = ASKED) -> Completion:
        """One attempt, settled as a retry, so that another can follow."""
        self.work = work = await self.rows.claim(self.id)
        assert isinstance(work, Work)
        ledger, routes = AttemptLedger(work, self.rows, {}, len, lambda: 0.0), self.routes()
        world = World(
            knowledge=MemoryKnowledge(self.database, embedding_model=HashEmbedder().name),
            embedder=HashEmbedder(),
            model=self.models,
            ledger=ledger,
            stream=self.heard,
            circuits=self.circuits,
            examples=MemoryExamples(self.database),
            count_tokens=len,
            routes=routes,
            routing=DEFAULT_ROUTING,
            prompts={},
        )
        self.heard.texts.clear()
        try:
            return await complete_by(routes["default"], asked, work, world)
        finally:
            self.closings = ledger.closings
            await self.rows.retry(Requeued(work.id, work.attempt, tuple(ledger.closings)))

    @property
    def calls(self) -> list[tuple[str | None, str, tuple[Check, ...] | None]]:
        """Route, status and failed checks of the attempt's calls."""
        return [(call.route, call.status, call.failed_checks) for call in self.closings]


def stage(*, cheap: list[Iterable[Event]], strong: list[Iterable[Event]] | None = None, **given: Any) -> Stage:
    return Stage(Models({"cheap": cheap, "strong": strong or []}), **given)


async def test_an_answer_that_passes_is_given_when_it_is_whole_and_nobody_else_is_asked() -> None:
    on = stage(cheap=[RIGHT])
    completion = await on.attempt()
    assert (completion.route, completion.text, completion.warnings) == ("default", "There are 12 * 3 = 36 cups.", [])
    assert on.heard.texts == [completion.text]
    assert on.models.asked == ["cheap"]
    assert on.calls == [("default", "succeeded", ())]
    assert completion.reason("rule:mine") == "rule:mine"


async def test_an_answer_that_fails_is_seen_by_nobody_and_the_stronger_route_s_is_streamed() -> None:
    on = stage(cheap=[WRONG], strong=[STRONG])
    with capture_logs() as logs:
        completion = await on.attempt()
    assert (completion.route, completion.text, completion.warnings) == ("strong", "36 cups.", [])
    assert on.heard.texts == ["36 ", "cups."]
    assert completion.reason("default") == "cascade:arithmetic"
    assert on.calls == [("default", "succeeded", ("arithmetic",)), ("strong", "succeeded", None)]
    assert [call.tokens_out for call in on.closings] == [3, 2]
    assert [(entry["route"], entry["to"], entry["checks"]) for entry in logs] == [("default", "strong", ["arithmetic"])]


async def test_several_failed_checks_are_all_named() -> None:
    cut = (TextDelta("1 + 1 = 3"), Completed("length", None))
    completion = await stage(cheap=[cut], strong=[STRONG]).attempt()
    assert completion.reason("default") == "cascade:ending+arithmetic"
    assert completion.warnings == []  # what was cut is not what was given


async def test_citations_are_checked_against_the_passages_of_the_prompt() -> None:
    cites = (TextDelta("So it is [3]."), Completed("stop", None))
    for passages, route in ((3, "default"), (2, "strong"), (None, "default")):
        on = stage(cheap=[cites], strong=[STRONG], cascade=Cascade("strong", ("citations",)))
        assert (await on.attempt(replace(ASKED, passages=passages))).route == route


@pytest.mark.parametrize("quality", ["fast", "best"])
async def test_who_asks_for_a_quality_sees_the_text_as_it_comes(quality: str) -> None:
    on = stage(cheap=[WRONG], options={"quality": quality})
    assert (await on.attempt()).route == "default"
    assert on.heard.texts == ["There are 12 * 3 ", "= 35 cups."]
    assert on.calls == [("default", "succeeded", None)]


REMARK = "cascade.unchecked: arithmetic failed, and strong was not to be had ({})"


@pytest.mark.parametrize(
    "error",
    [
        Retryable("model.unavailable", "down"),
        Retryable("model.limited", "no room", wait_s=60.0),
        Permanent("model.context_too_long", "too long"),
        Refused("model.refused", "no"),
    ],
)
async def test_where_the_stronger_route_fails_the_held_answer_is_given_with_a_warning(
    error: Retryable | Permanent | Refused,
) -> None:
    on = stage(cheap=[WRONG], strong=[(error,)])
    completion = await on.attempt()
    assert (completion.route, completion.text) == ("default", "There are 12 * 3 = 35 cups.")
    assert on.heard.texts == [completion.text]
    assert completion.warnings == [REMARK.format(error.code)]
    assert completion.reason("classifier") == "classifier"
    assert on.calls == [("default", "succeeded", ("arithmetic",)), ("strong", "failed", None)]


async def test_where_the_budget_refuses_the_stronger_route_it_is_not_asked() -> None:
    on = stage(cheap=[WRONG], reserved_usd=11.0)
    completion = await on.attempt()
    assert completion.warnings == [REMARK.format("limits.usd_per_tenant_and_day")]
    assert on.models.asked == ["cheap"]


async def test_a_stronger_route_whose_provider_is_down_is_not_asked() -> None:
    on = stage(cheap=[WRONG])
    for _ in range(5):
        await on.circuits.record("other", "model.timeout")
    assert (await on.attempt()).warnings == [REMARK.format("its provider is known to be down")]
    assert on.models.asked == ["cheap"]


async def test_an_attempt_that_was_lost_gives_nothing() -> None:
    on = stage(cheap=[WRONG], strong=[(AttemptLost("another runs"),)])
    with pytest.raises(AttemptLost):
        await on.attempt()
    assert on.heard.texts == []


async def test_where_the_cheap_route_fails_its_chain_goes_on_also_after_text_that_nobody_saw() -> None:
    for cheap in (DOWN, (TextDelta("There"), Retryable("model.stream_cut", "cut"))):
        on = stage(cheap=[cheap], strong=[STRONG])
        completion = await on.attempt()
        assert (completion.route, completion.failures[0].route) == ("strong", "default")
        assert completion.reason("default") == "default"
        assert on.heard.texts == ["36 ", "cups."]
        assert on.calls == [("default", "failed", None), ("strong", "succeeded", None)]


async def test_a_route_that_broke_off_unseen_is_asked_again_in_the_next_attempt() -> None:
    on = stage(cheap=[(TextDelta("There"), Retryable("model.stream_cut", "cut")), RIGHT], strong=[DOWN])
    with pytest.raises(Retryable):
        await on.attempt()
    assert (await on.attempt()).route == "default"
    assert on.work is not None
    assert on.work.broken_off == ()


async def test_a_stronger_route_that_breaks_off_ends_the_attempt_and_the_next_one_gives_the_held_answer() -> None:
    on = stage(cheap=[WRONG, WRONG], strong=[BREAKS_OFF])
    with pytest.raises(Retryable) as caught:
        await on.attempt()
    assert caught.value.code == "model.stream_cut"
    assert on.heard.texts == ["36 "]  # clients have seen it: the held answer is no continuation of it
    completion = await on.attempt()
    assert on.work is not None
    assert on.work.broken_off == (Failure("strong", "model.stream_cut"),)
    assert completion.warnings == [REMARK.format("model.stream_cut")]
    assert on.models.asked == ["cheap", "strong", "cheap"]


async def test_a_final_error_after_the_stronger_route_s_text_is_worth_another_attempt() -> None:
    on = stage(cheap=[WRONG, RIGHT], strong=[(TextDelta("36 "), Refused("model.refused", "no"))])
    with pytest.raises(Retryable) as caught:
        await on.attempt()
    assert caught.value.code == "model.refused"
    assert (await on.attempt()).warnings == []


async def test_one_deadline_holds_for_both_answers() -> None:
    on = stage(cheap=[WRONG], strong=[STRONG], chains=replace(CHAINS, deadline_s=7.0))
    await on.attempt()
    assert on.models.asked == ["cheap", "strong"]
    assert all(limit_s <= 7.0 for limit_s in on.models.limits_s)


async def test_after_the_deadline_the_stronger_route_is_not_asked() -> None:
    on = stage(cheap=[WRONG], chains=replace(CHAINS, deadline_s=0.05))
    on.models.pause = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, on.models.pause.set)
    assert (await on.attempt()).warnings == [REMARK.format("no time was left")]


async def test_a_cancel_while_the_text_is_held_back_shows_none_of_it_and_books_what_was_used() -> None:
    on = stage(cheap=[RIGHT])
    on.models.pause = asyncio.Event()
    attempt = asyncio.create_task(on.attempt())
    await on.models.paused.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert on.heard.texts == []
    [call] = on.closings
    assert (call.status, call.error_code, call.is_estimated) == ("failed", "attempt.canceled", True)
    assert call.tokens_out == len("There are 12 * 3 ")
