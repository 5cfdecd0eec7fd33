"""Renewal of leases by a thread of its own: an event loop that is busy does not lose its work."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

log = structlog.get_logger()

STUCK_S = 60.0  # an event loop that has not turned for so long will not: others may have its work
AGAIN_SHARE = 0.25  # of the pause, after a renewal that was not answered


class RenewingThread:
    """Calls `renew` every third of the lease from a thread, while the event loop that started it turns.

    `renew` blocks, no longer than its own time limit, and says whether it was answered. What it learns it hands to the
    loop by `tell`. `name`: what is renewed, for the log.
    """

    def __init__(self, renew: Callable[[], bool], *, name: str, lease_s: float, stuck_s: float = STUCK_S) -> None:
        self._renew = renew
        self._every_s = lease_s / 3
        self._stuck_s = stuck_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at_s: float | None = None  # the loop, whether it turns; None: it has answered
        self._is_stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stopped, name=f"renewing {name}", daemon=True)

    def start(self) -> None:
        """To be called on the event loop whose work it is."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Returns when a renewal under way has ended: no other begins."""
        self._is_stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def soon(self) -> None:
        """Renews at once."""
        self._wake.set()

    def tell(self, what: Callable[[], None]) -> None:
        """Has the event loop do it when it turns."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(what)

    def _renew_until_stopped(self) -> None:
        pause_s = self._every_s
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._is_stopping:
                return
            is_answered = self._is_stuck() or self._renewed()
            pause_s = self._every_s if is_answered else self._every_s * AGAIN_SHARE

    def _renewed(self) -> bool:
        try:
            return self._renew()
        except Exception as error:  # a thread that ended would lose all leases, and nobody would see why
            log.error("renewing.crashed", thread=self._thread.name, exc_info=error)
            return False

    def _is_stuck(self) -> bool:
        now_s, asked_at_s = time.monotonic(), self._asked_at_s  # read once: the loop may answer at any moment
        if asked_at_s is None:
            self._asked_at_s = now_s
            self.tell(self._turned)
            return False
        return now_s - asked_at_s > self._stuck_s

    def _turned(self) -> None:
        self._asked_at_s = None
