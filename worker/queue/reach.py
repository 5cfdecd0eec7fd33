"""Whether Redis answers: one line when it stops, one when it is back, and a reason against being ready between them."""

import random
import time

import structlog

from worker.settling import Policy, backoff_s

log = structlog.get_logger()


RECONNECT = Policy(backoff_base_s=0.1, backoff_cap_s=2.0)


class Reach:
    def __init__(self) -> None:
        self._failures = 0
        self._lost_at_s: float | None = None
        self._has_answered = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the process is not ready."""
        if self._lost_at_s is not None:
            return ("queue.unreachable",)
        return () if self._has_answered else ("queue.connecting",)

    def failed(self, error: Exception, *, running: int) -> float:
        """How long to wait before the next try, in seconds."""
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            log.warning("queue.unreachable", problem=type(error).__name__, running=running)
        self._failures += 1
        return backoff_s(self._failures, RECONNECT, 0.5 + random.random() / 2)  # noqa: S311 - jitter

    def answered(self) -> None:
        self._has_answered, self._failures = True, 0
        if self._lost_at_s is not None:
            log.info("queue.reconnected", after_s=round(time.monotonic() - self._lost_at_s, 3))
            self._lost_at_s = None
