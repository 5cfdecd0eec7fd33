"""Fallback against the local model server, whose faults are real HTTP answers, silences and broken connections."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from openai import AsyncOpenAI
from structlog.testing import capture_logs

from jobs.completions import Asked, Completion, complete_by
from jobs.decisions.breaking import Breaking
from jobs.decisions.caching import CachedAnswer, Reuse
from jobs.decisions.falling_back import CACHE, NO_CHAINS, Chains
from jobs.decisions.prompting import Message
from jobs.decisions.routing import DEFAULT_ROUTING
from jobs.errors import AttemptLost, Permanent, Postponed, Refused, Retryable
from jobs.ports import ModelName, Opening, Route, Work, World
from tests.local.model_server.running import ModelServer
from worker.adapters.memory import (
    HashEmbedder,
    MemoryCircuits,
    MemoryDatabase,
    MemoryExamples,
    MemoryKnowledge,
    MemoryRows,
)
from worker.adapters.memory.database import LedgerRow
from worker.adapters.memory.limits import MemoryLimits
from worker.adapters.models import OpenAIChat
from worker.ledger import AttemptLedger
from worker.pacing import PacedChat
from worker.ports import PerMinute, Requeued

CHAINS = Chains(errors=("second", "third"), context_too_long=("third",), refusals=("second",))
STATUS_429 = {"kind": "status", "status": 429, "retry_after_s": 30}
CONTEXT = {"kind": "status", "status": 400, "code": "context_length_exceeded"}
ASKED = Asked("answer", (Message("system", "Answer."), Message("user", "What flies?")), max_output_tokens=50)


@dataclass
class Heard:
    """What the client sees, by attempt."""

    texts: dict[int, str] = field(default_factory=dict)
    attempt: int = 0

    async def write(self, text: str) -> None:
        self.texts[self.attempt] = self.texts.get(self.attempt, "") + text


@dataclass
class Bench:
    """A row whose attempts ask routes of one model each, on two providers."""

    client: AsyncOpenAI
    database: MemoryDatabase = field(default_factory=lambda: MemoryDatabase(lambda: datetime.now(UTC)))
    circuits: MemoryCircuits = field(default_factory=MemoryCircuits)
    heard: Heard = field(default_factory=Heard)
    limits: MemoryLimits = field(default_factory=lambda: MemoryLimits({}))

    def __post_init__(self) -> None:
        self.rows = MemoryRows(self.database, worker="w", lease_s=30, opens={"answer": Opening("answer", MODEL)})
        self.id = self.database.insert(input={"question": "?"}, user_id="owner")

    async def attempt(
        self,
        chains: Chains = CHAINS,
        standby: Reuse | None = None,
        *,
        opens_first: bool = False,
        **reserved_usd: float,
    ) -> Completion:
        """One attempt, settled as a retry, so that another can follow."""
        work = await self.rows.claim(self.id)
        assert isinstance(work, Work)
        self.heard.attempt = work.attempt
        ledger = AttemptLedger(work, self.rows, {}, len, lambda: 0.0)
        routes = {n: replace(r, reserved_usd=reserved_usd.get(n)) for n, r in routes_of(chains).items()}
        world = World(
            knowledge=MemoryKnowledge(self.database, embedding_model=HashEmbedder().name),
            examples=MemoryExamples(self.database),
            embedder=HashEmbedder(),
            model=PacedChat(OpenAIChat({"local": self.client, "other": self.client}), self.limits, len),
            ledger=ledger,
            stream=self.heard,
            circuits=self.circuits,
            count_tokens=len,
            routes=routes,
            routing=DEFAULT_ROUTING,
            prompts={},
        )
        try:
            return await complete_by(
                routes["first"],
                ASKED,
                work,
                world,
                opened=None if reserved_usd and not opens_first else work.first_call,
                standby=standby,
            )
        finally:
            await self.rows.retry(Requeued(work.id, work.attempt, tuple(ledger.closings)))

    @property
    def calls(self) -> list[tuple[str | None, str, str | None]]:
        """Route, status and error of each call in the ledger, in the order of their opening."""
        return [seen(row) for row in self.database.calls.values()]


MODEL = ModelName("local", "first")


def routes_of(chains: Chains) -> Mapping[str, Route]:
    """Only the first is impatient: the others answer on a busy machine too."""
    providers = {"first": "local", "second": "other", "third": "local"}
    routes = {
        name: Route(name, ModelName(provider, name), 100, 1000, 10.0, 20.0) for name, provider in providers.items()
    }
    return routes | {"first": replace(routes["first"], first_token_timeout_s=0.5, total_timeout_s=5.0, chains=chains)}


def seen(row: LedgerRow) -> tuple[str | None, str, str | None]:
    assert row.closing is not None
    return row.closing["route"], row.status, row.closing["error_code"]


@pytest.fixture
def bench(model_client: AsyncOpenAI) -> Bench:
    return Bench(model_client)


@pytest.mark.parametrize(
    ("fault", "code", "answers"),
    [
        (STATUS_429, "model.rate_limited", "second"),
        ({"kind": "status", "status": 500}, "model.unavailable", "second"),
        ({"kind": "status", "status": 401}, "model.unauthorized", "second"),
        ({"kind": "hang"}, "model.timeout", "second"),
        ({"kind": "cut_stream"}, "model.stream_cut", "second"),
        (CONTEXT, "model.context_too_long", "third"),
        ({"kind": "refusal"}, "model.refused", "second"),
        ({"kind": "content_filter"}, "model.refused", "second"),
    ],
)
async def test_the_next_model_answers_when_the_first_fails_and_the_ledger_has_both_calls(
    bench: Bench, model_server: ModelServer, fault: Mapping[str, Any], code: str, answers: str
) -> None:
    model_server.fail(fault, model="first")
    with capture_logs() as logs:
        completion = await bench.attempt()
    assert (completion.route, completion.text) == (answers, bench.heard.texts[1])
    assert completion.text
    assert completion.warnings == [f"route.fell_back: {answers} answered, because first failed ({code})"]
    assert bench.calls == [("first", "failed", code), (answers, "succeeded", None)]
    [failed] = [entry for entry in logs if entry["event"] == "route.failed"]
    assert (failed["route"], failed["code"], failed["next"]) == ("first", code, answers)
    assert [entry["model"] for entry in model_server.log()] == ["first", answers]


@pytest.mark.parametrize("fault", [{"kind": "refusal"}, {"kind": "content_filter"}])
async def test_a_refusal_is_booked_with_the_provider_s_own_count(
    bench: Bench, model_server: ModelServer, fault: Mapping[str, Any]
) -> None:
    model_server.fail(fault, model="first")
    await bench.attempt()
    refused, told = next(iter(bench.database.calls.values())).closing, model_server.log()[0]
    assert refused is not None
    assert (refused["tokens_in"], refused["tokens_out"]) == (told["prompt_tokens"], told["completion_tokens"])
    assert refused["tokens_in"] > 0
    assert not refused["is_estimated"]


async def test_an_answer_of_the_first_route_carries_no_warning(bench: Bench) -> None:
    completion = await bench.attempt()
    assert (completion.route, completion.warnings) == ("first", [])
    assert bench.calls == [("first", "succeeded", None)]


async def test_when_all_are_limited_the_row_waits_as_the_least_patient_asks(
    bench: Bench, model_server: ModelServer
) -> None:
    for model, wait_s in (("first", 30), ("second", 7), ("third", 60)):
        model_server.fail({"kind": "status", "status": 429, "retry_after_s": wait_s}, model=model)
    with pytest.raises(Retryable) as caught:
        await bench.attempt()
    assert caught.value.wait_s == 7
    assert [route for route, _, _ in bench.calls] == ["first", "second", "third"]


@pytest.fixture
async def limited(bench: Bench) -> Bench:
    """The first model has had the fleet's one request of this minute."""
    bench.limits = MemoryLimits({MODEL: PerMinute(requests=1)})
    assert await bench.limits.reserve(MODEL, 0, patience_s=0.0) == 0
    return bench


async def test_a_model_at_our_own_limit_is_waited_for_and_no_dearer_one_is_asked(
    limited: Bench, model_server: ModelServer
) -> None:
    with pytest.raises(Postponed) as caught:
        await limited.attempt()
    assert caught.value.code == "model.limited"
    assert caught.value.wait_s is not None
    assert 30 < caught.value.wait_s <= 60
    assert model_server.log() == []


async def test_whoever_would_rather_not_wait_for_our_own_limit_names_a_route(limited: Bench) -> None:
    completion = await limited.attempt(Chains(errors=("second",), limits=("third",)))
    assert completion.route == "third"
    assert completion.warnings == ["route.fell_back: third answered, because first failed (model.limited)"]


async def test_without_a_chain_an_error_is_the_row_s(bench: Bench, model_server: ModelServer) -> None:
    model_server.fail({"kind": "refusal"}, model="first")
    model_server.fail(CONTEXT, model="first")
    for kind in (Refused, Permanent):
        with pytest.raises(kind):
            await bench.attempt(NO_CHAINS)
    assert len(model_server.log()) == 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "cut_stream", "after_chunks": 3}, "model.stream_cut"),
        ({"kind": "content_filter", "after_tokens": 3}, "model.refused"),
    ],
)
async def test_after_its_first_text_no_other_model_goes_on_and_the_next_attempt_begins_with_the_next_one(
    bench: Bench, model_server: ModelServer, fault: Mapping[str, Any], code: str
) -> None:
    model_server.fail(fault, model="first", times="always")
    with pytest.raises(Retryable) as caught:
        await bench.attempt()
    assert caught.value.code == code
    assert [entry["model"] for entry in model_server.log()] == ["first"]
    completion = await bench.attempt()
    assert [entry["model"] for entry in model_server.log()] == ["first", "second"]
    # Each attempt's text is one model's: what the client saw first is no part of what it sees in the end.
    assert bench.heard.texts[1]
    assert bench.heard.texts[2] == completion.text
    assert completion.warnings == [f"route.fell_back: second answered, because first failed ({code})"]


async def test_when_every_route_broke_off_the_first_is_asked_again(bench: Bench, model_server: ModelServer) -> None:
    for model in ("first", "second", "third"):
        model_server.fail({"kind": "cut_stream", "after_chunks": 2}, model=model)
    for _ in range(3):
        with pytest.raises(Retryable):
            await bench.attempt()
    assert (await bench.attempt()).route == "first"
    assert [entry["model"] for entry in model_server.log()] == ["first", "second", "third", "first"]


async def test_an_open_circuit_s_routes_are_passed_over_and_asked_when_nothing_else_is_left(
    bench: Bench, model_server: ModelServer
) -> None:
    for _ in range(5):
        await bench.circuits.record("local", "model.timeout")
    completion = await bench.attempt()
    assert completion.warnings == [
        "route.fell_back: second answered, because the provider of first is known to be down"
    ]
    assert [entry["model"] for entry in model_server.log()] == ["second"]
    model_server.fail({"kind": "status", "status": 500}, model="second")
    assert (await bench.attempt()).route == "first"


async def test_timeouts_open_the_circuit_and_an_answer_closes_it(bench: Bench, model_server: ModelServer) -> None:
    model_server.fail({"kind": "status", "status": 503}, times=5, model="first")
    for _ in range(5):
        assert (await bench.attempt()).route == "second"
    await bench.attempt()
    assert [entry["model"] for entry in model_server.log()] == ["first", "second"] * 5 + ["second"]
    await bench.circuits.record("local", None)
    assert (await bench.attempt()).route == "first"


async def test_a_call_that_the_budget_forbids_is_not_made(bench: Bench, model_server: ModelServer) -> None:
    bench.database.usd_per_tenant_and_day = 1.0
    with pytest.raises(Refused, match="usd_per_tenant_and_day"):
        await bench.attempt(first=1.5)
    assert model_server.log() == []


async def test_a_fallback_that_the_budget_forbids_is_passed_over(bench: Bench, model_server: ModelServer) -> None:
    bench.database.usd_per_tenant_and_day = 1.0
    model_server.fail(STATUS_429, model="first")
    assert (await bench.attempt(first=0.4, second=1.1, third=0.4)).route == "third"
    assert [entry["model"] for entry in model_server.log()] == ["first", "third"]


async def test_a_cached_answer_is_given_where_the_budget_forbids_the_fallback(
    bench: Bench, model_server: ModelServer
) -> None:
    bench.database.usd_per_tenant_and_day = 1.0
    model_server.fail(STATUS_429, model="first")
    chains = Chains(errors=("second", CACHE))
    completion = await bench.attempt(chains, BEFORE, first=0.4, second=1.1)
    assert completion.reused == BEFORE


async def test_the_budget_is_asked_again_before_a_fallback(bench: Bench, model_server: ModelServer) -> None:
    bench.database.usd_per_tenant_and_day = 1.0
    model_server.fail(STATUS_429, model="first")
    with pytest.raises(Retryable, match="rate_limited"):
        await bench.attempt(first=0.4, second=1.1, third=1.1)
    assert [entry["model"] for entry in model_server.log()] == ["first"]


@pytest.mark.parametrize(("second", "answers"), [(1.1, "first"), (0.9, "second"), (0.2, "second")])
async def test_a_route_that_is_asked_in_place_of_the_first_has_its_own_reservation(
    bench: Bench, model_server: ModelServer, *, second: float, answers: str
) -> None:
    bench.database.usd_per_tenant_and_day = 1.0
    bench.rows = MemoryRows(
        bench.database, worker="w", lease_s=30, opens={"answer": Opening("answer", MODEL, "first", reserved_usd=0.4)}
    )
    for _ in range(5):
        await bench.circuits.record("local", "model.timeout")
    assert (await bench.attempt(opens_first=True, first=0.4, second=second)).route == answers
    assert bench.calls == [(answers, "succeeded", None)]
    assert [entry["model"] for entry in model_server.log()] == [answers]


@dataclass
class Lost(Heard):
    """The stream finds that the row is another attempt's."""

    async def write(self, text: str) -> None:
        raise AttemptLost(f"{len(text)} characters had nobody to go to")


async def test_a_lost_attempt_asks_nobody_else(bench: Bench, model_server: ModelServer) -> None:
    bench.heard = Lost()
    with pytest.raises(AttemptLost):
        await bench.attempt()
    assert len(model_server.log()) == 1


BEFORE = Reuse(
    CachedAnswer(
        id=7,
        key="key",
        question="What flies?",
        answer="The swift flies.",
        citations=(),
        similarity=1.0,
        age_s=7200.0,
        is_fresh=False,
        chunk_ids=frozenset({1}),
        seen_chunk_ids=frozenset({1}),
        tokens_in=100,
        tokens_out=10,
        cost_usd=0.01,
    ),
    "exact",
)
REMARK = "answer.cached: stale, given 2 h ago to the same question, because first failed (model.unavailable)"


async def test_a_cached_answer_takes_its_place_in_a_chain_and_the_ledger_says_what_it_saved(
    bench: Bench, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "status", "status": 500}, model="first")
    completion = await bench.attempt(Chains(errors=(CACHE, "second")), standby=BEFORE)
    assert (completion.text, completion.reused) == ("The swift flies.", BEFORE)
    assert completion.warnings == [REMARK]
    assert bench.heard.texts[1] == "The swift flies."
    assert [entry["model"] for entry in model_server.log()] == ["first"]
    spared = [row.closing for row in bench.database.calls.values()][-1]
    assert spared is not None
    assert (spared["purpose"], spared["reused_id"], spared["cost_usd"]) == ("cache", 7, 0.0)
    assert (spared["saved_tokens_in"], spared["saved_tokens_out"], spared["saved_usd"]) == (100, 10, 0.01)


async def test_a_chain_goes_on_without_the_cache_where_nothing_was_kept(
    bench: Bench, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "status", "status": 500}, model="first")
    assert (await bench.attempt(Chains(errors=(CACHE, "second")))).route == "second"


async def test_a_chain_of_the_cache_alone_ends_with_the_model_s_error_where_nothing_was_kept(
    bench: Bench, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "status", "status": 500}, model="first")
    with pytest.raises(Retryable) as caught:
        await bench.attempt(Chains(errors=(CACHE,)))
    assert caught.value.code == "model.unavailable"


async def test_a_route_that_others_left_too_little_time_does_not_open_its_circuit(
    bench: Bench, model_server: ModelServer
) -> None:
    bench.circuits = MemoryCircuits(Breaking(failures=1))
    for model in ("first", "second"):
        model_server.fail({"kind": "hang"}, model=model, times="always")
    with pytest.raises(Retryable, match="local/first"):
        await bench.attempt(Chains(errors=("second",), deadline_s=1.0))
    assert [entry["model"] for entry in model_server.log()] == ["first", "second"]
    assert not await bench.circuits.admits("local"), "it had its half second"
    assert await bench.circuits.admits("other"), "the second had half a second of its ten"


async def test_after_the_deadline_of_a_chain_no_route_is_asked_and_the_cache_still_answers(
    bench: Bench, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "hang"}, model="first", times="always")
    chains = Chains(errors=("second", CACHE), deadline_s=0.2)
    completion = await bench.attempt(chains, standby=BEFORE)
    assert completion.reused == BEFORE
    assert [entry["model"] for entry in model_server.log()] == ["first"]
    with pytest.raises(Retryable) as caught:
        await bench.attempt(chains)
    assert caught.value.code == "model.timeout"
