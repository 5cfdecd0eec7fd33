import pytest

from tests.worker.queue_contract import QueueContract, hint
from worker.adapters.memory import MemoryQueue
from worker.ports import Queue


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    async def queue(self) -> Queue:
        return MemoryQueue()

    @pytest.fixture
    async def unreachable(self) -> Queue:
        queue = MemoryQueue()
        queue.available = False
        return queue


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_hints_are_taken_when_they_are_due_the_oldest_first() -> None:
    clock = Clock()
    queue = MemoryQueue(clock)
    later, first, second = hint(), hint(), hint()
    await queue.enqueue([later], wait_s=5.0)
    await queue.enqueue([first])
    clock.now_s = 1.0
    await queue.enqueue([second])
    assert await queue.take(1) == (first,)
    assert await queue.take(10) == (second,)
    assert await queue.take(10) == ()
    clock.now_s = 5.0
    assert await queue.take(10) == (later,)


async def test_a_hint_that_runs_counts_until_it_is_done_and_may_then_come_again() -> None:
    queue = MemoryQueue()
    running = hint()
    await queue.enqueue([running])
    await queue.take(1)
    assert await queue.enqueue([running]) == 0
    assert await queue.depth() == 1
    await queue.done(running)
    assert await queue.depth() == 0
    assert await queue.enqueue([running]) == 1


async def test_a_row_that_is_sent_back_while_its_attempt_winds_up_waits_beside_it() -> None:
    queue = MemoryQueue()
    running = hint()
    await queue.enqueue([running])
    await queue.take(1)
    sent_back = hint(id=running.id, attempt=running.attempt + 1)
    assert await queue.enqueue([sent_back]) == 1
    assert await queue.take(1) == (sent_back,)
