import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from jobs.decisions.pricing import Price
from jobs.errors import Permanent, Refused, Retryable
from jobs.ports import Finished, Job, ModelName, Opening, Usage, Work, World
from worker.adapters.memory.broadcast import MemoryBroadcast
from worker.adapters.memory.database import Generation, MemoryDatabase
from worker.adapters.memory.queue import MemoryQueue
from worker.adapters.memory.rows import MemoryRows
from worker.answer_stream import AttemptStream
from worker.executor import Executor, Timing
from worker.leases import Leases
from worker.ledger import AttemptLedger, OpenCall
from worker.ports import Hint
from worker.settling import Policy
from worker.telemetry import Metrics

MODEL = ModelName("local", "echo")
LEASE_S = 15.0


@dataclass(slots=True)
class Clock:
    at: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Machine:
    """A worker on a database in memory; the job writes to the ledger and the stream that it is given."""

    clock: Clock
    database: MemoryDatabase
    rows: MemoryRows
    queue: MemoryQueue
    broadcast: MemoryBroadcast
    leases: Leases
    executor: Executor

    def insert(self) -> str:
        return self.database.insert(input={"question": "why?"})

    async def run(self, id: str) -> Generation:
        row = self.database.generations[id]
        await self.executor.run(Hint(id, row.attempt, row.kind, row.lane, row.tenant))
        return row


Attempt = Callable[[Work, AttemptLedger, AttemptStream], Awaitable[Finished]]


def machine(
    attempt: Attempt,
    *,
    database: MemoryDatabase | None = None,
    clock: Clock | None = None,
    name: str = "w1",
    renewed_every_s: float = 3600.0,
) -> Machine:
    clock = clock or Clock()
    database = database or MemoryDatabase(clock.now)
    rows = MemoryRows(database, worker=name, lease_s=LEASE_S, opens={})
    queue, broadcast, leases = MemoryQueue(), MemoryBroadcast(), Leases(rows, lease_s=3 * renewed_every_s)
    given: dict[str, tuple[AttemptLedger, AttemptStream]] = {}

    def world(ledger: AttemptLedger, stream: AttemptStream) -> World:
        given["last"] = ledger, stream
        return None  # type: ignore[return-value] # the jobs of these tests take ledger and stream themselves

    async def job(work: Work, _world: World) -> Finished:
        return await attempt(work, *given["last"])

    jobs: dict[str, Job] = {"answer": job}
    executor = Executor(
        jobs=jobs,
        world=world,
        rows=rows,
        queue=queue,
        broadcast=broadcast,
        leases=leases,
        prices={MODEL: Price(1.0, 1.0, 2.0)},
        count_tokens=lambda text: len(text.split()),
        metrics=Metrics(),
        policy=Policy(max_tries=3, max_tries_of_bugs=2),
        timing=Timing(),
        chance=lambda: 0.5,
    )
    return Machine(clock, database, rows, queue, broadcast, leases, executor)


async def call(ledger: AttemptLedger) -> None:
    async with ledger.call(Opening("answer", MODEL)) as model_call:
        model_call.used(Usage(tokens_in=10, tokens_out=5))


@asynccontextmanager
async def running(m: Machine, id: str, began: asyncio.Event) -> AsyncIterator[asyncio.Task[Generation]]:
    task = asyncio.create_task(m.run(id))
    await began.wait()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_answer_is_streamed_written_and_booked() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, stream: AttemptStream) -> Finished:
        await call(ledger)
        await stream.write("forty-")
        await stream.write("two")
        return Finished(answer="forty-two", route="default")

    m = machine(answer)
    id = m.insert()
    with capture_logs() as logs:
        row = await m.run(id)
    assert (row.status, row.result["answer"]) == ("succeeded", "forty-two")
    assert m.broadcast.text(f"generation:{id}") == "forty-two"
    assert [(c.status, c.opening.purpose) for c in m.database.calls.values()] == [("succeeded", "answer")]
    line = next(entry for entry in logs if entry["event"] == "attempt.finished")
    assert (line["outcome"], line["tokens_in"], line["tokens_out"], line["calls"]) == ("succeeded", 10, 5, 1)


async def test_the_line_of_an_attempt_says_which_checks_a_cascade_s_first_answer_failed() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        async with ledger.call(Opening("answer", MODEL, "default")) as checked:
            checked.checked(("arithmetic",))
        await call(ledger)
        return Finished(answer="forty-two", route="strong", route_reason="cascade:arithmetic")

    m = machine(answer)
    with capture_logs() as logs:
        await m.run(m.insert())
    line = next(entry for entry in logs if entry["event"] == "attempt.finished")
    assert (line["route_reason"], line["failed_checks"]) == ("cascade:arithmetic", ["arithmetic"])
    assert [c.closing["failed_checks"] for c in m.database.calls.values() if c.closing] == [["arithmetic"], None]


async def test_the_line_of_an_attempt_says_why_its_route_was_chosen_and_which_calls_failed() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        with pytest.raises(Retryable):
            async with ledger.call(Opening("answer", MODEL, "default")):
                raise Retryable("model.rate_limited", "later")
        await call(ledger)
        noted = {"candidates": 7, "calls": 99}
        return Finished(answer="42", route="strong", route_reason="rule:long", prompt_version="answer@1", noted=noted)

    m = machine(answer)
    with capture_logs() as logs:
        await m.run(m.insert())
    line = next(entry for entry in logs if entry["event"] == "attempt.finished")
    assert (line["route"], line["route_reason"], line["calls"]) == ("strong", "rule:long", 2)
    assert line["failed_calls"] == ["default: model.rate_limited"]
    assert (line["prompt_version"], line["candidates"]) == ("answer@1", 7)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Permanent("input.invalid", "no"), "failed", "input.invalid"),
        (Refused("policy.topic", "no"), "refused", "policy.topic"),
    ],
)
async def test_a_final_error_ends_the_row_with_its_code(error: Exception, status: str, code: str) -> None:
    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        raise error

    m = machine(answer)
    row = await m.run(m.insert())
    assert row.status == status
    assert row.error is not None
    assert row.error["code"] == code


async def test_a_retryable_error_queues_the_row_again_until_its_tries_are_used_up() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        await call(ledger)
        raise Retryable("model.rate_limited", "slow down", wait_s=30)

    m = machine(answer)
    id = m.insert()
    row = await m.run(id)
    assert (row.status, row.tries) == ("queued", 1)
    assert row.run_at == m.clock.now() + timedelta(seconds=30)
    assert await m.queue.depth() == 1
    for _ in range(2):
        m.clock.pass_s(100)
        row = await m.run(id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "model.rate_limited"
    assert len(m.database.calls) == 3


async def test_an_unexpected_error_is_logged_with_its_trace_and_stays_out_of_the_row() -> None:
    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        raise ZeroDivisionError("secret of the user's")

    m = machine(answer)
    id = m.insert()
    with capture_logs() as logs:
        await m.run(id)
        m.clock.pass_s(100)
        row = await m.run(id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "internal.unexpected"
    assert "secret" not in str(row.error)
    assert all(isinstance(e["exc_info"], ZeroDivisionError) for e in logs if e["event"] == "attempt.finished")


async def test_a_row_that_another_worker_took_over_keeps_the_other_answer_and_books_both_calls() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        await call(ledger)
        began.set()
        await go_on.wait()
        return Finished(answer="the first worker's")

    async def quick(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        await call(ledger)
        return Finished(answer="the second worker's")

    first = machine(slow)
    second = machine(quick, database=first.database, clock=first.clock, name="w2")
    id = first.insert()
    async with running(first, id, began) as task:
        first.clock.pass_s(LEASE_S + 1)
        await second.run(id)
        go_on.set()
        row = await task
    assert (row.status, row.attempt, row.result["answer"]) == ("succeeded", 2, "the second worker's")
    assert [c.closing is not None for c in first.database.calls.values()] == [True, True]


async def test_a_cancel_reaches_the_job_with_the_next_renewal_and_its_calls_are_booked() -> None:
    began = asyncio.Event()
    canceled = False

    async def endless(_work: Work, ledger: AttemptLedger, stream: AttemptStream) -> Finished:
        nonlocal canceled
        try:
            async with ledger.call(Opening("answer", MODEL)):
                await stream.write("half an answ")
                began.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled = True
            raise
        raise AssertionError

    m = machine(endless, renewed_every_s=0.02)
    id = m.insert()
    async with m.leases.renewed(), running(m, id, began) as task:
        assert m.database.cancel(id)
        row = await task
    assert canceled
    assert row.status == "canceled"
    assert [c.closing["error_code"] for c in m.database.calls.values() if c.closing] == ["attempt.canceled"]


async def test_word_of_a_cancel_ends_the_job_before_the_next_renewal_is_due() -> None:
    began = asyncio.Event()

    async def endless(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    m = machine(endless)
    id, other = m.insert(), m.insert()
    async with m.leases.renewed(), running(m, id, began) as task:
        m.leases.look_at([other])
        m.database.cancel(id)
        m.leases.look_at([id])
        row = await task
    assert row.status == "canceled"


async def test_word_of_a_cancel_that_the_row_does_not_confirm_ends_nothing() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        began.set()
        await go_on.wait()
        return Finished(answer="42")

    m = machine(answer)
    id = m.insert()
    async with m.leases.renewed(), running(m, id, began) as task:
        m.leases.look_at([id])
        for _ in range(5):
            await asyncio.sleep(0)
        go_on.set()
        row = await task
    assert row.status == "succeeded"


async def interrupted(stream: AttemptStream, call: OpenCall, *texts: str) -> None:
    call.sends(["five words make a prompt"])
    for text in texts:
        call.received(text)
        await stream.write(text)


@pytest.mark.parametrize(
    ("texts", "tokens", "cost_usd"),
    [(("two ", "words"), (5, 2), 9e-6), ((), (None, None), None)],
    ids=["after the first text", "before it"],
)
async def test_a_call_that_was_cut_short_is_booked_as_an_estimate_if_the_model_had_begun(
    texts: tuple[str, ...], tokens: tuple[int | None, int | None], cost_usd: float | None
) -> None:
    """A provider bills what it wrote until the connection ended, and tells nobody how much that was."""

    async def answer(_work: Work, ledger: AttemptLedger, stream: AttemptStream) -> Finished:
        async with ledger.call(Opening("answer", MODEL)) as model_call:
            await interrupted(stream, model_call, *texts)
            raise Permanent("model.stream_cut", "no more")

    m = machine(answer)
    await m.run(m.insert())
    [booked] = [c.closing for c in m.database.calls.values()]
    assert booked is not None
    assert (booked["tokens_in"], booked["tokens_out"]) == tokens
    assert booked["cost_usd"] == (None if cost_usd is None else pytest.approx(cost_usd))
    assert booked["is_estimated"] == bool(texts)


async def test_a_call_whose_provider_told_its_tokens_is_no_estimate() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, stream: AttemptStream) -> Finished:
        async with ledger.call(Opening("answer", MODEL)) as model_call:
            await interrupted(stream, model_call, "text")
            model_call.used(Usage(tokens_in=10, tokens_out=5))
        return Finished(answer="text")

    m = machine(answer)
    await m.run(m.insert())
    [booked] = [c.closing for c in m.database.calls.values()]
    assert booked is not None
    assert (booked["tokens_in"], booked["tokens_out"], booked["is_estimated"]) == (10, 5, False)


async def test_a_worker_that_stops_hands_the_row_back_without_using_up_a_try() -> None:
    began = asyncio.Event()

    async def endless(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    m = machine(endless)
    id = m.insert()
    async with running(m, id, began) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    row = m.database.generations[id]
    assert (row.status, row.tries, row.attempt) == ("queued", 0, 1)
    assert await m.queue.depth() == 1
    assert len(m.leases) == 0


async def test_values_that_the_row_refuses_end_it_as_failed_instead_of_leaving_it_running() -> None:
    async def answer(_work: Work, ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        async with ledger.call(Opening("answer", MODEL)) as model_call:
            model_call.used(Usage(tokens_in=2**40))
        return Finished(answer="x")

    m = machine(answer)
    row = await m.run(m.insert())
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "internal.unsettleable"


async def test_a_kind_that_this_worker_does_not_know_is_left_for_another() -> None:
    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        raise AssertionError

    m = machine(answer)
    id = m.database.insert(kind="translate", input={})
    row = await m.run(id)
    assert (row.status, row.error) == (
        "queued",
        {"code": "kind.unknown", "message": "this worker has no job of kind 'translate'"},
    )


async def test_a_row_that_is_not_to_be_had_is_left_alone() -> None:
    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        return Finished(answer="once")

    m = machine(answer)
    id = m.insert()
    await m.run(id)
    row = await m.run(id)
    assert (row.attempt, row.result["answer"]) == (1, "once")


async def test_a_row_that_workers_die_of_is_logged_as_an_error_and_not_run() -> None:
    async def answer(_work: Work, _ledger: AttemptLedger, _stream: AttemptStream) -> Finished:
        raise AssertionError

    m = machine(answer)
    id = m.insert()
    for _ in range(3):
        await m.rows.claim(id)  # by a worker that dies
        m.clock.pass_s(LEASE_S + 1)
    with capture_logs() as logs:
        row = await m.run(id)
    assert row.status == "failed"
    assert [(e["event"], e["log_level"], e["id"]) for e in logs] == [("attempt.poisoned", "error", id)]
