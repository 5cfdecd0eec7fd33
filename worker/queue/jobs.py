"""Jobs in the hands of this worker, and what it says of them to Redis."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from worker.queue.link import Argument


class Given(NamedTuple):
    """A job as the step script gives it out. `token` is the lease's: it changes with each giving out.

    A tuple: a frozen dataclass of so many fields takes a tenth of what a whole job may take.
    """

    id: str
    token: str
    lane: str
    tenant: str
    tries: int
    payload: bytes | None
    waited_ms: int  # since it was due
    is_aborted: bool

    @classmethod
    def of(cls, reply: Sequence[Any]) -> "Given":
        id, token, lane, tenant, tries, payload, waited_ms, is_aborted = reply
        return cls(
            id.decode(), token.decode(), lane.decode(), tenant.decode(), tries, payload, waited_ms, bool(is_aborted)
        )


@dataclass(slots=True)
class Running:
    job: Given  # the last giving out: a job whose lease was lost may be given to us again
    task: "asyncio.Task[None]"
    is_aborted: bool = False


class Ended(NamedTuple):
    job: Given
    how: Literal["done", "release"]
    ran_s: float = 0.0
    result: bytes = b""

    def arguments(self) -> tuple[Argument, ...]:
        job = self.job
        return job.id, job.token, self.how, job.lane, job.tenant, round(1000 * self.ran_s), self.result
