"""Calls that are made again until they succeed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from jobs.errors import Retryable
from worker.settling import Policy, backoff_s

Result = TypeVar("Result")

BACKOFF = Policy(backoff_base_s=0.2, backoff_cap_s=2.0)


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long a call is made again while the database cannot be reached."""

    give_up_after_s: float = 60.0
    backoff: Policy = BACKOFF
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    async def call(self, call: Callable[[int], Awaitable[Result]]) -> Result:
        """What `call(failures so far)` returns, when it does; raises its last Retryable at the deadline."""
        failures, give_up_s = 0, self.monotonic_s() + self.give_up_after_s
        while True:
            try:
                return await call(failures)
            except Retryable as error:
                failures += 1
                pause_s = max(backoff_s(failures, self.backoff, self.chance()), error.wait_s or 0.0)
                if self.monotonic_s() + pause_s > give_up_s:
                    raise
                await self.sleep(pause_s)


PERSISTENT = Persistence()
