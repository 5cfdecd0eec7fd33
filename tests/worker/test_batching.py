import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.batching import Batcher

INTERVAL_S = 0.1


class Moment:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


class FakeTimers:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._moments: list[Moment] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Moment:
        moment = Moment(when, callback)
        self._moments.append(moment)
        return moment

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        await settle()
        while due := [m for m in self._moments if m.when <= self.now and not m.canceled]:
            self._moments = [m for m in self._moments if m not in due and not m.canceled]
            for moment in sorted(due, key=lambda m: m.when):
                if not moment.canceled:
                    moment.callback()
            await settle()


async def settle() -> None:
    """Lets every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Echo:
    """Answers each item with itself, doubled; keeps what it was called with; may be held up."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.most_running = 0

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return [2 * item for item in items]


def echoing(*, max_size: int = 100, max_in_flight: int = 4) -> tuple[Echo, FakeTimers, Batcher[int, int]]:
    echo, timers = Echo(), FakeTimers()
    batcher = Batcher(echo, interval_s=INTERVAL_S, max_size=max_size, max_in_flight=max_in_flight, timers=timers)
    return echo, timers, batcher


def submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(batcher.submit(item)) for item in items]


async def test_items_submitted_in_one_turn_share_the_first_call_which_does_not_wait() -> None:
    echo, timers, batcher = echoing()
    tasks = submit(batcher, 1, 2, 3)
    await timers.advance(0)
    assert echo.calls == [[1, 2, 3]]
    assert [await task for task in tasks] == [2, 4, 6]


async def test_while_traffic_lasts_one_call_begins_an_interval() -> None:
    echo, timers, batcher = echoing()
    tasks = submit(batcher, 0)
    await timers.advance(0)
    for item in range(1, 21):  # an item every tenth of the interval
        tasks += submit(batcher, item)
        await timers.advance(INTERVAL_S / 10)
    await timers.advance(INTERVAL_S)
    assert len(echo.calls) <= 4
    assert await asyncio.gather(*tasks) == [2 * item for item in range(21)]


async def test_after_a_pause_the_first_item_goes_at_once_again() -> None:
    echo, timers, batcher = echoing()
    submit(batcher, 1)
    await timers.advance(0)
    await timers.advance(10 * INTERVAL_S)
    submit(batcher, 2)
    await timers.advance(0)
    assert echo.calls == [[1], [2]]


async def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    echo, timers, batcher = echoing(max_size=3)
    submit(batcher, 0)
    await timers.advance(0)
    submit(batcher, 1, 2)
    await timers.advance(0)
    assert echo.calls == [[0]]
    submit(batcher, 3)
    await timers.advance(0)
    assert echo.calls == [[0], [1, 2, 3]]


async def test_no_more_calls_are_in_flight_than_allowed_and_the_rest_follows() -> None:
    echo, timers, batcher = echoing(max_size=2, max_in_flight=2)
    echo.gate.clear()
    tasks = submit(batcher, *range(10))
    await timers.advance(5 * INTERVAL_S)
    assert echo.calls == [[0, 1], [2, 3]]
    echo.gate.set()
    await timers.advance(5 * INTERVAL_S)
    assert await asyncio.gather(*tasks) == [2 * item for item in range(10)]
    assert echo.most_running == 2


async def test_an_error_of_the_call_reaches_every_waiter_and_the_next_call_is_free_of_it() -> None:
    timers = FakeTimers()

    async def refuse_odd_batches(items: Sequence[int]) -> Sequence[int]:
        if items[0] % 2:
            raise ConnectionError("the other side is away")
        return items

    batcher = Batcher(refuse_odd_batches, interval_s=INTERVAL_S, timers=timers)
    failing = submit(batcher, 1, 2)
    await timers.advance(0)
    for task in failing:
        with pytest.raises(ConnectionError):
            await task
    working = submit(batcher, 4, 5)
    await timers.advance(INTERVAL_S)
    assert await asyncio.gather(*working) == [4, 5]


async def test_a_call_that_answers_too_few_results_fails_for_all_rather_than_mixing_them_up() -> None:
    timers = FakeTimers()

    async def drop_one(items: Sequence[int]) -> Sequence[int]:
        return items[1:]

    batcher = Batcher(drop_one, interval_s=INTERVAL_S, timers=timers)
    tasks = submit(batcher, 1, 2)
    await timers.advance(0)
    for task in tasks:
        with pytest.raises(RuntimeError, match="2 items answered 1"):
            await task


async def test_a_waiter_canceled_before_its_call_takes_its_item_back_and_disturbs_nobody() -> None:
    echo, timers, batcher = echoing()
    first, second, third = submit(batcher, 1, 2, 3)
    await settle()
    second.cancel()
    await timers.advance(0)
    assert echo.calls == [[1, 3]]
    assert await first == 2
    assert await third == 6
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_a_waiter_canceled_during_its_call_disturbs_nobody() -> None:
    echo, timers, batcher = echoing()
    echo.gate.clear()
    first, second = submit(batcher, 1, 2)
    await timers.advance(0)
    first.cancel()
    await settle()
    echo.gate.set()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_batch_of_canceled_items_makes_no_call_and_costs_no_interval() -> None:
    echo, timers, batcher = echoing()
    (only,) = submit(batcher, 1)
    await settle()
    only.cancel()
    await timers.advance(0)
    submit(batcher, 2)
    await timers.advance(0)
    assert echo.calls == [[2]]


async def test_flush_sends_at_once_and_returns_with_the_answers() -> None:
    echo, timers, batcher = echoing()
    submit(batcher, 1)
    await timers.advance(0)
    tasks = submit(batcher, 2, 3)
    await settle()
    flush = asyncio.create_task(batcher.flush())
    await timers.advance(0)
    await flush
    assert echo.calls == [[1], [2, 3]]
    assert all(task.done() for task in tasks)


async def test_flush_waits_for_calls_under_way() -> None:
    echo, timers, batcher = echoing()
    echo.gate.clear()
    submit(batcher, 1)
    await timers.advance(0)
    flush = asyncio.create_task(batcher.flush())
    await settle()
    assert not flush.done()
    echo.gate.set()
    await flush


async def test_flush_of_an_idle_batcher_returns() -> None:
    _, _, batcher = echoing()
    await batcher.flush()


async def test_a_closed_batcher_has_answered_everything_and_takes_no_more() -> None:
    echo, timers, batcher = echoing()
    tasks = submit(batcher, 1, 2)
    await settle()
    closing = asyncio.create_task(batcher.close())
    await timers.advance(0)
    await closing
    assert echo.calls == [[1, 2]]
    assert [await task for task in tasks] == [2, 4]
    with pytest.raises(RuntimeError, match="closed"):
        await batcher.submit(3)


async def test_without_injected_time_the_event_loop_s_own_is_used() -> None:
    echo = Echo()
    batcher = Batcher(echo, interval_s=0.001)
    assert await asyncio.gather(*(batcher.submit(item) for item in range(50))) == [2 * item for item in range(50)]
    assert echo.calls == [list(range(50))]


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 5)), max_size=15),
    max_size=st.integers(1, 7),
    max_in_flight=st.integers(1, 3),
)
def test_every_item_is_sent_once_in_order_and_gets_its_own_result(
    arrivals: list[tuple[float, int]], max_size: int, max_in_flight: int
) -> None:
    async def run() -> None:
        echo, timers, batcher = echoing(max_size=max_size, max_in_flight=max_in_flight)
        tasks: list[asyncio.Task[int]] = []
        for pause_s, count in arrivals:
            await timers.advance(pause_s)
            tasks += submit(batcher, *range(len(tasks), len(tasks) + count))
        for _ in range(len(tasks) + 1):
            await timers.advance(INTERVAL_S)
        assert [task.result() for task in tasks] == [2 * item for item in range(len(tasks))]
        assert [item for call in echo.calls for item in call] == list(range(len(tasks)))
        assert all(0 < len(call) <= max_size for call in echo.calls)
        assert echo.most_running <= max_in_flight

    asyncio.run(run())


async def test_the_result_of_a_waiter_that_left_while_its_call_was_under_way_is_not_dropped() -> None:
    left: list[int] = []
    echo, timers = Echo(), FakeTimers()
    batcher = Batcher(echo, interval_s=INTERVAL_S, timers=timers, unclaimed=left.append)
    echo.gate.clear()
    tasks = submit(batcher, 1, 2)
    await timers.advance(0)
    tasks[0].cancel()
    await settle()
    echo.gate.set()
    assert await tasks[1] == 4
    assert left == [2]
