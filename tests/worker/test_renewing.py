"""The thread that renews: what the event loop may do, and what it may not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from tests.waiting import async_until, until
from worker.renewing import RenewingThread

EVERY_S = 0.01
RARELY_S = 3600.0


class Renewals:
    """Counts; `answered` is what each says."""

    def __init__(self, *, answered: bool = True) -> None:
        self.count = 0
        self._answered = answered

    def renew(self) -> bool:
        self.count += 1
        return self._answered


@asynccontextmanager
async def renewing(
    renew: Callable[[], bool], *, every_s: float = EVERY_S, stuck_s: float = 60.0
) -> AsyncIterator[RenewingThread]:
    thread = RenewingThread(renew, name="tests", lease_s=3 * every_s, stuck_s=stuck_s)
    thread.start()
    try:
        yield thread
    finally:
        await thread.stop()


async def test_a_loop_that_is_busy_is_renewed_for_all_the_same() -> None:
    renewals = Renewals()
    async with renewing(renewals.renew):
        until(lambda: renewals.count > 3, "it renews")  # blocks the loop


async def test_a_loop_that_is_stuck_is_not_renewed_for_until_it_turns_again() -> None:
    renewals = Renewals()
    async with renewing(renewals.renew, stuck_s=0.05):
        before = -1
        while renewals.count != before:  # as long as it goes on, the loop has not been stuck for long enough
            before = renewals.count
            time.sleep(0.3)  # noqa: ASYNC251 - it is the point

        async def goes_on() -> bool:
            return renewals.count > before

        await async_until(goes_on, "it renews again")


async def test_what_is_told_to_the_loop_happens_on_the_loop() -> None:
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def renew() -> bool:
        thread.tell(lambda: None if told.done() else told.set_result(None))
        return True

    async with renewing(renew) as thread:
        await told


async def test_it_renews_at_once_when_somebody_says_that_there_is_news() -> None:
    renewals = Renewals()
    async with renewing(renewals.renew, every_s=RARELY_S) as thread:
        assert renewals.count == 0
        thread.soon()
        until(lambda: renewals.count == 1, "it renews")


async def test_a_renewal_that_crashes_is_told_and_others_follow() -> None:
    calls = 0

    def renew() -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return True

    with capture_logs() as logs:
        async with renewing(renew):
            until(lambda: calls > 2, "it goes on")
    [crash] = [entry for entry in logs if entry["event"] == "renewing.crashed"]
    assert isinstance(crash["exc_info"], ZeroDivisionError)


async def test_no_renewal_begins_after_it_was_stopped() -> None:
    renewals = Renewals()
    async with renewing(renewals.renew):
        until(lambda: renewals.count > 0, "it renews")
    stopped_at = renewals.count
    await asyncio.sleep(10 * EVERY_S)
    assert renewals.count == stopped_at
