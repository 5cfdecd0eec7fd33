import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import generate_latest
from structlog.testing import capture_logs

from jobs.errors import Permanent, Retryable
from tests.waiting import async_until
from worker.adapters.memory import MemoryDatabase, MemoryQueue, MemoryRows
from worker.ports import Due, QueueUnavailable
from worker.sweeper import Sweeper, Sweeping
from worker.telemetry import Metrics

LEASE_S = 15.0


@dataclass(slots=True)
class Turns:
    """A turn that is ours, another's, or cannot be asked for."""

    is_ours: bool = True
    problem: QueueUnavailable | None = None
    was_given_up: bool = False

    async def take(self) -> bool:
        if self.problem is not None:
            raise self.problem
        return self.is_ours

    async def give_up(self) -> None:
        self.was_given_up = True
        if self.problem is not None:
            raise self.problem


class FlakyRows(MemoryRows):
    """Rows whose `due` fails while there is a problem; `looks` counts what was asked for."""

    problem: Exception | None = None
    looks = 0

    async def due(self, *, grace_s: float, max_rows: int, after: Due | None = None) -> Sequence[Due]:
        self.looks += 1
        if self.problem is not None:
            raise self.problem
        return await MemoryRows.due(self, grace_s=grace_s, max_rows=max_rows, after=after)


@dataclass(slots=True)
class Fleet:
    """A database, a queue, and one process that may sweep."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    page: int = 500
    max_backlog: int = 100_000
    database: MemoryDatabase = field(init=False)
    rows: FlakyRows = field(init=False)
    queue: MemoryQueue = field(init=False)
    turn: Turns = field(default_factory=Turns)
    metrics: Metrics = field(default_factory=Metrics)
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        self.database = MemoryDatabase(lambda: self.now)
        self.rows = FlakyRows(self.database, worker="w1", lease_s=LEASE_S, opens={})
        self.queue = MemoryQueue()
        sweeping = Sweeping(interval_s=0.01, grace_s=1.0, page=self.page, max_backlog=self.max_backlog)
        self.sweeper = Sweeper(self.rows, self.queue, self.turn, self.metrics, sweeping, monotonic_s=self.seconds)

    def seconds(self) -> float:
        return self.now.timestamp()

    def insert(self, count: int) -> list[str]:
        return [self.database.insert(input={"question": "?"}) for _ in range(count)]

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def sweeps(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("rowcall_sweeps_total", {"outcome": outcome}) or 0.0


async def test_a_row_is_left_to_its_webhook_for_the_grace_period_and_then_enqueued() -> None:
    fleet = Fleet()
    [id] = fleet.insert(1)
    await fleet.sweeper.take_turn()
    assert await fleet.queue.depth() == 0
    fleet.pass_s(1.5)
    await fleet.sweeper.take_turn()
    assert [hint.id for hint in await fleet.queue.take(10)] == [id]


async def test_a_row_whose_worker_died_is_enqueued_when_its_lease_has_ended() -> None:
    fleet = Fleet()
    [id] = fleet.insert(1)
    await fleet.rows.claim(id)
    await fleet.sweeper.take_turn()
    assert await fleet.queue.depth() == 0
    fleet.pass_s(LEASE_S + 1)
    await fleet.sweeper.take_turn()
    [hint] = await fleet.queue.take(10)
    assert (hint.id, hint.attempt) == (id, 1)


async def test_what_is_in_the_queue_already_is_not_added_again() -> None:
    fleet = Fleet()
    fleet.insert(3)
    fleet.pass_s(2)
    for _ in range(3):
        await fleet.sweeper.take_turn()
    assert await fleet.queue.depth() == 3
    shown = generate_latest(fleet.metrics.registry).decode()
    assert 'rowcall_hints_enqueued_total{by="sweeper"} 3.0' in shown


async def test_what_was_lost_comes_back_in_one_sweep_however_many_pages_it_takes() -> None:
    fleet = Fleet(page=4)
    ids = fleet.insert(30)
    fleet.pass_s(2)
    assert await fleet.sweeper.sweep() == 30
    assert {hint.id for hint in await fleet.queue.take(100)} == set(ids)


async def test_a_page_without_news_ends_the_sweep() -> None:
    fleet = Fleet(page=4)
    fleet.insert(10)
    fleet.pass_s(2)
    await fleet.sweeper.sweep()
    fleet.rows.looks = 0
    assert await fleet.sweeper.sweep() == 0
    assert fleet.rows.looks == 1


async def test_what_was_lost_behind_a_page_without_news_is_found_by_a_full_sweep() -> None:
    fleet = Fleet(page=4)
    ids = fleet.insert(10)
    fleet.pass_s(2)
    await fleet.sweeper.sweep()
    newest = (await fleet.queue.take(10))[9]
    await fleet.queue.done(newest)
    assert await fleet.sweeper.sweep() == 0
    fleet.pass_s(31)
    assert await fleet.sweeper.sweep() == 1
    assert len(ids) == 10


async def test_above_the_backlogs_limit_rows_stay_where_they_are_until_there_is_room() -> None:
    fleet = Fleet(page=4, max_backlog=8)
    fleet.insert(20)
    fleet.pass_s(2)
    assert await fleet.sweeper.sweep() == 8
    assert await fleet.sweeper.sweep() == 0
    for hint in await fleet.queue.take(8):
        await fleet.rows.claim(hint.id)
        await fleet.queue.done(hint)
    assert await fleet.sweeper.sweep() == 8


async def test_rows_that_run_are_left_alone_when_redis_has_lost_everything() -> None:
    fleet = Fleet()
    running, *queued = fleet.insert(5)
    await fleet.rows.claim(running)
    fleet.pass_s(2)
    fleet.queue = MemoryQueue()
    sweeper = Sweeper(fleet.rows, fleet.queue, fleet.turn, fleet.metrics, Sweeping())
    assert await sweeper.sweep() == 4
    assert {hint.id for hint in await fleet.queue.take(10)} == set(queued)


async def test_a_sweep_that_loses_its_turn_ends() -> None:
    fleet = Fleet(page=4)
    fleet.insert(20)
    fleet.pass_s(2)
    fleet.turn.is_ours = False
    assert await fleet.sweeper.sweep() == 4


async def test_one_process_of_the_fleet_sweeps() -> None:
    fleet = Fleet()
    fleet.insert(1)
    fleet.pass_s(2)
    fleet.turn.is_ours = False
    await fleet.sweeper.take_turn()
    assert (fleet.rows.looks, await fleet.queue.depth()) == (0, 0)
    assert (fleet.sweeps("not_our_turn"), fleet.sweeps("done")) == (1, 0)


# Outages


def events(logs: Any) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"] != "sweep.found"]


async def test_an_outage_of_the_database_is_one_line_and_its_end_another() -> None:
    fleet = Fleet()
    fleet.insert(1)
    fleet.pass_s(2)
    fleet.rows.problem = Retryable("database.unavailable", "gone")
    with capture_logs() as logs:
        for _ in range(5):
            await fleet.sweeper.take_turn()
        fleet.rows.problem = None
        await fleet.sweeper.take_turn()
        await fleet.sweeper.take_turn()
    assert events(logs) == ["sweep.failed", "sweep.recovered"]
    assert logs[0]["code"] == "database.unavailable"
    assert fleet.sweeps("failed") == 5
    assert await fleet.queue.depth() == 1


async def test_an_outage_that_turns_into_another_is_a_second_line() -> None:
    fleet = Fleet()
    fleet.rows.problem = Retryable("database.unavailable", "gone")
    with capture_logs() as logs:
        await fleet.sweeper.take_turn()
        fleet.rows.problem = Permanent("database.refused", "no such function")
        await fleet.sweeper.take_turn()
        fleet.turn.problem = QueueUnavailable("gone too")
        await fleet.sweeper.take_turn()
    assert [entry["code"] for entry in logs] == ["database.unavailable", "database.refused", "queue.unavailable"]


async def test_an_outage_of_the_queue_in_the_middle_of_a_sweep_is_survived() -> None:
    fleet = Fleet()
    fleet.insert(2)
    fleet.pass_s(2)
    fleet.queue.available = False
    await fleet.sweeper.take_turn()
    fleet.queue.available = True
    await fleet.sweeper.take_turn()
    assert await fleet.queue.depth() == 2


async def test_the_sweeper_runs_until_it_is_stopped_and_gives_its_turn_up() -> None:
    fleet = Fleet()
    stop = asyncio.Event()
    task = asyncio.create_task(fleet.sweeper.run(stop))

    async def has_swept_twice() -> bool:
        return fleet.sweeps("done") >= 2

    await async_until(has_swept_twice, "two sweeps")
    stop.set()
    await task
    assert fleet.turn.was_given_up


async def test_a_sweeper_that_stops_during_an_outage_stops() -> None:
    fleet = Fleet()
    fleet.turn.problem = QueueUnavailable("gone")
    stop = asyncio.Event()
    stop.set()
    await fleet.sweeper.run(stop)
    assert fleet.turn.was_given_up
