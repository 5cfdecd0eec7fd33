"""Waiting for something to become true, with a deadline that only a broken system reaches."""

import asyncio
import time
from collections.abc import Awaitable, Callable

DEADLINE_S = 30.0
LOOK_EVERY_S = 0.02


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(LOOK_EVERY_S)


async def async_until(
    holds: Callable[[], Awaitable[bool]],
    what: str,
    *,
    deadline_s: float = DEADLINE_S,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    deadline = time.monotonic() + deadline_s
    while not await holds():
        assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}"
        await asyncio.sleep(look_every_s)
