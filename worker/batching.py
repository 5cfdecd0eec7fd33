"""Calls that meet within milliseconds share a round trip."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cancelable(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """Time, and what happens at a time. An asyncio event loop is one."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Cancelable: ...


@dataclass(frozen=True, slots=True)
class Waiter(Generic[Item, Result]):
    item: Item
    future: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """`submit(item)` from many tasks, one `call(items)` for those that meet; it answers one result an item, in order.

    The first item goes at once, with those submitted in the same turn of the event loop. While traffic lasts a call
    begins every `interval_s` at most, so that load makes batches larger and not calls more frequent. A batch of
    `max_size` is as large as it gets and does not wait for the interval.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        interval_s: float,
        max_size: int = 100,
        max_in_flight: int = 4,
        timers: Timers | None = None,
        unclaimed: Callable[[Result], None] = lambda _: None,
    ) -> None:
        """`timers`: the running event loop where None is given. `unclaimed` gets results whose waiters have left."""
        self._call = call
        self._interval_s = interval_s
        self._max_size = max_size
        self._max_in_flight = max_in_flight
        self._timers = timers
        self._unclaimed = unclaimed
        self._waiting: deque[Waiter[Item, Result]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._next_begin_s = -math.inf
        self._wake: Cancelable | None = None
        self._flushes = 0
        self._closed = False

    async def submit(self, item: Item) -> Result:
        """The item's result. Raises what its call raised; every item of that call gets the same error.

        Whoever is canceled while waiting takes the item back, unless its call has begun.
        """
        if self._closed:
            raise RuntimeError("the batcher is closed")
        waiter: Waiter[Item, Result] = Waiter(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._schedule()
        return await waiter.future

    async def flush(self) -> None:
        """Sends what waits, the interval notwithstanding; returns when all that was submitted before has its answer."""
        answers: list[asyncio.Future[Any]] = [*(waiter.future for waiter in self._waiting), *self._in_flight]
        if not answers:
            return
        self._flushes += 1
        try:
            self._schedule()
            await asyncio.wait(answers)
        finally:
            self._flushes -= 1

    async def close(self) -> None:
        """Takes nothing more, and flushes."""
        self._closed = True
        await self.flush()

    def _clock(self) -> Timers:
        return self._timers or asyncio.get_running_loop()

    def _schedule(self) -> None:
        """Sets the moment of the next call anew: whatever happened may have made it an earlier one."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if not self._waiting or len(self._in_flight) >= self._max_in_flight:
            return  # a submit, or the end of a call, comes here again
        clock = self._clock()
        is_full = len(self._waiting) >= self._max_size
        at_once = is_full or self._flushes > 0
        self._wake = clock.call_at(clock.time() if at_once else max(clock.time(), self._next_begin_s), self._begin)

    def _begin(self) -> None:
        self._wake = None
        if batch := self._take():
            self._next_begin_s = self._clock().time() + self._interval_s
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._ended)
        self._schedule()

    def _take(self) -> list[Waiter[Item, Result]]:
        batch: list[Waiter[Item, Result]] = []
        while self._waiting and len(batch) < self._max_size:
            waiter = self._waiting.popleft()
            if not waiter.future.done():  # canceled
                batch.append(waiter)
        return batch

    async def _run(self, batch: Sequence[Waiter[Item, Result]]) -> None:
        try:
            results = await self._call([waiter.item for waiter in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a call with {len(batch)} items answered {len(results)} results")  # noqa: TRY301 - as the call's own
        except asyncio.CancelledError:
            for waiter in batch:
                waiter.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - the waiters' to handle, whatever it is
            for waiter in batch:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            return
        for waiter, result in zip(batch, results, strict=True):
            if waiter.future.done():
                self._unclaimed(result)
            else:
                waiter.future.set_result(result)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._schedule()
