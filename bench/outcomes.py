"""What one side did under one load, as its clients saw it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

CONTEXT = "POST /rest/v1/rpc/context_v4"  # one owner, one transaction: the call that is never shared
BROADCAST = "POST /realtime/v1/api/broadcast"


@dataclass(frozen=True, slots=True)
class Load:
    rate: float  # rows a second
    seconds: float

    @property
    def rows(self) -> int:
        return round(self.rate * self.seconds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row as its client saw it. Times are milliseconds since the insert was sent; None: never seen."""

    id: str | None = None
    status: str | None = None
    accepted_ms: float | None = None
    first_ms: float | None = None  # the first text that could be shown
    finished_ms: float | None = None
    rereads: int = 0  # by the timer of unfinished rows
    gaps: int = 0  # text that was missing until the row was read again
    healed: int = 0  # text that was missing until a key frame came
    exact: bool = True  # what was streamed is the row's answer
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One side under one load."""

    outcomes: tuple[Outcome, ...]
    requests: Mapping[str, int]  # of the worker, by method and path
    processor_s: Mapping[str, float]  # by process
    took_s: float
    began: datetime  # by the database's clock

    def times(self, name: str) -> list[float]:
        return [ms for o in self.outcomes if (ms := getattr(o, name)) is not None]

    @property
    def succeeded(self) -> int:
        return sum(o.status == "succeeded" for o in self.outcomes)

    @property
    def batched_calls(self) -> int:
        rest = sum(count for request, count in self.requests.items() if " /rest/v1/" in request)
        return rest - self.requests.get(CONTEXT, 0)

    @property
    def broadcasts(self) -> int:
        return self.requests.get(BROADCAST, 0)
