"""What every `worker.ports.Queue` does. A subclass named Test… gives the fixtures their queues."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from worker.ports import Hint, Queue, QueueUnavailable


def hint(*, id: str | None = None, attempt: int = 0) -> Hint:
    return Hint(id or str(uuid4()), attempt, "answer", "interactive", "acme")


class QueueContract:
    @pytest.fixture
    async def queue(self) -> Queue:
        """An empty queue."""
        raise NotImplementedError

    @pytest.fixture
    async def unreachable(self) -> Queue:
        """A queue that is down."""
        raise NotImplementedError

    async def test_what_is_added_counts_in_the_depth(self, queue: Queue) -> None:
        assert await queue.depth() == 0
        assert await queue.enqueue([hint(), hint()]) == 2
        assert await queue.enqueue([hint()]) == 1
        assert await queue.depth() == 3

    async def test_the_backlog_tells_what_is_ready_in_each_lane_and_what_must_wait(self, queue: Queue) -> None:
        await queue.enqueue([hint(), hint(), replace(hint(), lane="bulk")])
        await queue.enqueue([hint()], wait_s=3600.0)
        backlog = await queue.backlog()
        assert [(lane.lane, lane.waiting, lane.running) for lane in backlog.lanes] == [
            ("interactive", 2, 0),
            ("bulk", 1, 0),
        ]
        assert backlog.scheduled == 1
        assert all(0 <= lane.oldest_s < 30.0 for lane in backlog.lanes)

    async def test_nothing_to_add_adds_nothing(self, queue: Queue) -> None:
        assert await queue.enqueue([]) == 0
        assert await queue.depth() == 0

    async def test_a_hint_that_is_there_already_is_not_added_again(self, queue: Queue) -> None:
        twice, fresh = hint(), hint()
        assert await queue.enqueue([twice]) == 1
        assert await queue.enqueue([twice, fresh]) == 1
        assert await queue.depth() == 2

    async def test_a_hint_that_comes_twice_in_one_call_is_added_once(self, queue: Queue) -> None:
        twice = hint()
        assert await queue.enqueue([twice, twice]) == 1
        assert await queue.depth() == 1

    async def test_the_same_row_after_another_attempt_is_another_hint(self, queue: Queue) -> None:
        first = hint(attempt=0)
        assert await queue.enqueue([first]) == 1
        assert await queue.enqueue([hint(id=first.id, attempt=1)]) == 1

    async def test_of_many_that_add_the_same_hint_at_once_one_adds_it(self, queue: Queue) -> None:
        same = hint()
        assert sorted(await asyncio.gather(*(queue.enqueue([same]) for _ in range(10)))) == [0] * 9 + [1]
        assert await queue.depth() == 1

    async def test_a_hint_that_must_wait_is_there_and_counts(self, queue: Queue) -> None:
        later = hint()
        assert await queue.enqueue([later], wait_s=3600.0) == 1
        assert await queue.enqueue([later]) == 0
        assert await queue.depth() == 1

    async def test_more_hints_than_fit_into_one_step_are_all_added(self, queue: Queue) -> None:
        many = [hint() for _ in range(1_201)]
        assert await queue.enqueue(many) == 1_201
        assert await queue.enqueue(many) == 0
        assert await queue.depth() == 1_201

    async def test_a_queue_that_is_down_says_so_for_whatever_it_is_asked(self, unreachable: Queue) -> None:
        with pytest.raises(QueueUnavailable):
            await unreachable.enqueue([hint()])
        with pytest.raises(QueueUnavailable):
            await unreachable.depth()
        with pytest.raises(QueueUnavailable):
            await unreachable.backlog()
