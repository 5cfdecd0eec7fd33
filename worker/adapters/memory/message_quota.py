import time
from collections.abc import Callable

from worker.outbox import Budget
from worker.ports import Grant


class MemoryMessageQuota:
    """`worker.ports.MessageQuota` of one process."""

    def __init__(self, *, messages_per_s: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._budget = Budget(messages_per_s, tokens=max(messages_per_s, 1.0), at_s=monotonic_s())

    async def take(self, wanted: int) -> Grant:
        granted = min(wanted, self._budget.available(self._monotonic_s()))
        self._budget.spend(granted)
        return Grant(granted, 0.0 if granted else self._budget.wait_s())
