"""The step of an answer that asks a reranker, with every port in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from jobs.decisions.breaking import Breaking
from jobs.decisions.pricing import Price
from jobs.errors import AttemptLost, JobError, Permanent, Refused, Retryable
from jobs.ports import ModelName, Reading, Reranker, Usage, World
from jobs.reranking import reranked
from tests.jobs.attempts import claimed
from tests.jobs.decisions.test_reranking import ids, passage
from worker.adapters.memory import MemoryCircuits
from worker.ports import Closing

NAME = ModelName("elsewhere", "cross-encoder")


@dataclass
class Reader:
    """Scores as it is told, or fails as it is told."""

    scores: Sequence[float] = ()
    error: JobError | None = None
    usage: Usage | None = None
    read: list[Sequence[str]] = field(default_factory=list)

    @property
    def name(self) -> ModelName:
        return NAME

    async def rerank(self, question: str, passages: Sequence[str], call_id: str) -> Reading:  # noqa: ARG002 - the port's
        self.read.append(passages)
        if self.error is not None:
            raise self.error
        return Reading(tuple(self.scores), self.usage)


async def world_with(reader: Reranker | None) -> tuple[World, list[Closing]]:
    row = {"kind": "answer", "input": {"question": "q"}}
    _, world, ledger = await claimed(row, reranker=reader, circuits=MemoryCircuits(Breaking(failures=2)))
    return world, ledger.closings


async def test_the_passages_come_as_the_reranker_reads_them_and_the_ledger_knows() -> None:
    reader = Reader(scores=(-2.0, 3.0, 1.0), usage=Usage(90))
    world, calls = await world_with(reader)
    chosen = await reranked([passage(n) for n in range(3)], "q", world, limit=2)
    assert ids(chosen) == [1, 2]
    assert reader.read[0][1].startswith("t\n\n"), "it reads where a passage stands, too"
    assert [(call.status, call.model, call.tokens_in) for call in calls] == [("succeeded", NAME, 90)]


@pytest.mark.parametrize(
    "error", [Retryable("model.timeout", "slow"), Permanent("model.not_found", "no"), Refused("budget.spent", "no")]
)
async def test_the_passages_keep_their_order_where_it_fails(error: JobError) -> None:
    world, calls = await world_with(Reader(error=error))
    with capture_logs() as logs:
        chosen = await reranked([passage(n) for n in range(3)], "q", world, limit=2)
    assert ids(chosen) == [0, 1]
    assert [(line["event"], line["code"]) for line in logs] == [("rerank.skipped", error.code)]
    assert [call.error_code for call in calls] == [error.code]


async def test_a_reranker_that_fails_again_and_again_is_left_alone_for_a_while() -> None:
    reader = Reader(error=Retryable("model.timeout", "slow"))
    world, _ = await world_with(reader)
    for _ in range(5):
        assert ids(await reranked([passage(n) for n in range(3)], "q", world, limit=3)) == [0, 1, 2]
    assert len(reader.read) == 2


async def test_an_attempt_that_lost_its_row_ends() -> None:
    world, _ = await world_with(Reader(error=AttemptLost("another attempt has taken over")))
    with pytest.raises(AttemptLost):
        await reranked([passage(n) for n in range(3)], "q", world, limit=3)


async def test_without_a_reranker_nothing_is_asked() -> None:
    world, calls = await world_with(None)
    assert ids(await reranked([passage(n) for n in range(3)], "q", world, limit=2)) == [0, 1]
    assert calls == []


@pytest.mark.parametrize(("usd_per_mtok_in", "is_read"), [(1_000_000.0, False), (10_000.0, True)])
async def test_what_it_may_cost_is_reserved_and_a_budget_may_forbid_it(
    usd_per_mtok_in: float, *, is_read: bool
) -> None:
    reader = Reader(scores=(-2.0, 3.0, 1.0), usage=Usage(90))
    row = {"kind": "answer", "input": {"question": "q"}, "user_id": "owner"}  # who has 10 dollars a day
    price = Price(usd_per_mtok_in, 0.0, 0.0)
    _, world, _ = await claimed(row, reranker=reader, reranker_price=price)
    chosen = await reranked([passage(n) for n in range(3)], "q", world, limit=2)
    assert (len(reader.read) == 1, ids(chosen)) == (is_read, [1, 2] if is_read else [0, 1])
