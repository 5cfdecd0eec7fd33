"""What the machine needs from the world: Protocols, and the values that cross them. Jobs do not see these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from jobs.decisions.checking import Check
from jobs.ports import Finished, ModelName, Opening, Work
from worker.settling import Error


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known of a row without reading it. The claim decides."""

    id: str
    attempt: int
    kind: str
    lane: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """What stands in one lane. `mean_job_s` is a moving average; None until a job has ended."""

    lane: str
    waiting: int  # ready, and given out to nobody
    oldest_s: float  # since when the oldest of them has been ready; 0 where none is
    running: int
    mean_job_s: float | None

    @property
    def work_s(self) -> float:
        """Seconds of work that wait; divided by the fleet's places, the time until the lane is empty."""
        return self.waiting * (self.mean_job_s or 0.0)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands in the queue. `scheduled` hints wait for a later moment: retries, and rows with a later `run_at`."""

    scheduled: int
    lanes: tuple[LaneBacklog, ...]  # the most urgent first


class Queue(Protocol):
    """Where hints wait for a worker. Losing all of it loses no work: the sweeper brings it back from the rows."""

    async def enqueue(self, hints: Sequence[Hint], *, wait_s: float = 0.0) -> int:
        """Adds what is not there yet; the number added. Raises `QueueUnavailable`."""
        ...

    async def depth(self) -> int:
        """How many hints wait or run. Raises `QueueUnavailable`."""
        ...

    async def probe(self) -> int:
        """The depth, after a write has shown that hints can be added. Raises `QueueUnavailable`."""
        ...

    async def backlog(self) -> Backlog:
        """Depth, age and jobs in flight of each lane, fleet-wide. Raises `QueueUnavailable`."""
        ...


class Tables(Protocol):
    """The project's own tables."""

    async def ask(self, table: str, key: Mapping[str, int | str], automation: Sequence[str]) -> str | None:
        """The id of the generation that the row makes as it is now; None: it is gone, blank, or was asked the same.

        `table` is `schema.table`; `automation`: what rowcall.generate would be given. Raises Retryable or Permanent.
        """
        ...


class Cancels(Protocol):
    """Word of canceled attempts, to whichever worker runs them. Best effort: the next renewal tells the same."""

    async def announce(self, hints: Sequence[Hint]) -> None:
        """Raises `QueueUnavailable`."""
        ...


class QueueUnavailable(Exception):
    """The queue cannot be reached, or refuses writes."""


@dataclass(frozen=True, slots=True)
class PerMinute:
    """What a model takes from the whole fleet in a minute. None: there is no limit."""

    requests: int | None = None
    tokens: int | None = None


class Limits(Protocol):
    """How fast the fleet calls its models. Never raises: without its store, calls are made at once."""

    def of(self, model: ModelName) -> PerMinute: ...

    async def reserve(self, model: ModelName, tokens: int, *, patience_s: float) -> float:
        """Seconds to wait before the call, for which there is then room. Negative: it would be so many seconds, more
        than the patience, and nothing was reserved.
        """
        ...

    async def held_back_s(self, model: ModelName) -> float:
        """How long no call may begin, since the provider has refused one; whoever has waited for a turn asks again."""
        ...

    async def settle(self, model: ModelName, *, reserved: int, used: int) -> None:
        """Puts the tokens that were used in the place of those that were reserved."""
        ...

    async def refused(self, model: ModelName, wait_s: float) -> None:
        """The provider said 429: no call begins for so long, and then fewer do for a while."""
        ...


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a call in the ledger. Unknown numbers are None, never 0."""

    id: str
    status: Literal["succeeded", "failed"]
    model: ModelName
    route: str | None
    duration_ms: int
    first_token_ms: int | None = None
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None
    cost_usd: float | None = None
    error_code: str | None = None
    is_estimated: bool = False  # the tokens were counted here: the call ended before the provider told them
    purpose: str | None = None  # None: as the call was opened
    reused_id: int | None = None  # the cached answer that was given in place of the call, and what that saved
    saved_tokens_in: int | None = None
    saved_tokens_out: int | None = None
    saved_usd: float | None = None
    failed_checks: tuple[Check, ...] | None = None  # of a cascade; None: the answer was not checked


@dataclass(frozen=True, slots=True)
class Ended:
    """The write-back that ends a row. Tokens and cost_usd are sums over the attempt's calls; where the price
    of a route that wrote text is unknown, so is cost_usd.
    """

    id: str
    attempt: int
    status: Literal["succeeded", "review", "failed", "refused"]
    finished: Finished | None
    error: Error | None
    calls: tuple[Closing, ...]
    first_token_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Requeued:
    """The write-back that sends a row back: after a failure (retry), or because the worker stops (release)."""

    id: str
    attempt: int
    calls: tuple[Closing, ...]
    wait_s: float = 0.0
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Canceled:
    """What an attempt had when its worker heard that the row was canceled. `partial`: what clients were sent."""

    id: str
    attempt: int
    partial: str
    calls: tuple[Closing, ...]
    first_token_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    id: str
    attempt: int
    partial: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What a renewal says of an attempt that this worker holds, or lost lately."""

    id: str
    attempt: int
    state: Literal["held", "lost", "canceled"]


@dataclass(frozen=True, slots=True)
class Due:
    """A row that should be in the queue, and since when."""

    hint: Hint
    at: datetime


class Rows(Protocol):
    """The rows of generations and of the ledger. Calls that meet within milliseconds share a round trip.

    Every method raises `jobs.errors.Retryable` when the database cannot be reached; nothing has then been written, or
    what has been written is fenced by the attempt and may be written again.
    """

    async def claim(self, id: str) -> Work | None:
        """The attempt, now ours; None: the row runs elsewhere, is not due, has ended, or is gone.

        Raises `Poisoned` where the claim ended the row instead.
        """
        ...

    def renew(self) -> Sequence[Lease]:
        """Extends all leases of this worker, in one call. Blocks: it is for a thread, which no busy loop can starve."""
        ...

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        """False: the attempt is no longer ours."""
        ...

    async def end(self, ended: Ended) -> bool:
        """Ends the row: finish, fail or refuse. False: the attempt is no longer ours; nothing changed but the ledger.

        Raises `Unsettleable` where the row itself refuses these values.
        """
        ...

    async def retry(self, requeued: Requeued) -> bool: ...

    async def release(self, requeued: Requeued) -> bool: ...

    async def due(self, *, grace_s: float, max_rows: int, after: Due | None = None) -> Sequence[Due]:
        """A page of the rows that should be in the queue, those that have been due longest first: queued and due for
        `grace_s` seconds, or running with a lease that ended. `after`: the last one of the page before.
        """
        ...

    async def keep_canceled(self, canceled: Canceled) -> bool:
        """Completes a row that was canceled by what its attempt had. False: it is not canceled, or is another's;
        nothing changed but the ledger.
        """
        ...

    async def open_call(self, work: Work, opening: Opening, *, instead_of: str | None = None) -> str:
        """The id of a new ledger row. `instead_of`: one of the same row's that is open and will not be made; it goes.

        Raises `AttemptLost`, and `Refused` where the tenant's budget of the day does not allow the call.
        """
        ...

    async def close_calls(self, calls: Sequence[Closing]) -> None:
        """Books calls whose attempt has no write-back of its own: it was lost, but its tokens were used."""
        ...


class NotClaimed(Exception):
    """Nobody knows what became of the claim: the hint is as good as before, and goes back to the queue."""


class Poisoned(Exception):
    """The row has failed as `attempt.poisoned`: as many workers as are allowed died of it, or lost it."""


class Unsettleable(Exception):
    """The row refuses the values of its write-back; the message says why."""


@dataclass(frozen=True, slots=True)
class Broadcasted:
    """A message for a private topic."""

    topic: str
    event: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """How many messages may be sent now; where that is none, seconds until one may."""

    messages: int
    wait_s: float


class MessageQuota(Protocol):
    """How many messages the fleet sends to Realtime, which drops what is above a project's plan. Never raises."""

    async def take(self, wanted: int) -> Grant:
        """Takes what there is, `wanted` at most, which is 1 or more."""
        ...


class Broadcast(Protocol):
    """Messages to watching clients. Best effort by nature: clients re-read the row where a gap shows."""

    async def send(self, message: Broadcasted) -> None:
        """Accepts the message; it leaves with others, in order per topic. Failures are logged, never raised."""
        ...

    async def flush(self) -> None:
        """Returns when all that was accepted has left, or failed."""
        ...
