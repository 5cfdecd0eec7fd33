"""One attempt: claim, run, settle."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from jobs.errors import AttemptLost, JobError, Retryable
from jobs.ports import Finished, Job, Work, World
from worker.answer_stream import AttemptStream
from worker.leases import Leases
from worker.ledger import AttemptLedger, CountTokens, Prices, total_usd
from worker.ports import (
    Broadcast,
    Canceled,
    Closing,
    Ended,
    Hint,
    NotClaimed,
    Poisoned,
    Queue,
    QueueUnavailable,
    Requeued,
    Rows,
    Unsettleable,
)
from worker.settling import End, Finish, Policy, Release, Retry, Settlement, settle
from worker.telemetry import Metrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt under way, with what it writes to."""

    work: Work
    ledger: AttemptLedger
    stream: AttemptStream
    began_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    checkpoint_every_s: float = 2.0
    attempt_timeout_s: float = 600.0


class Lost(Exception):
    """The attempt ended without us; the argument is the lease's state."""


class Stopped(Exception):
    """The worker is stopping."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs hints. Whatever a job does, its row is settled: finished, failed, refused, retried or released."""

    jobs: Mapping[str, Job]
    world: Callable[[AttemptLedger, AttemptStream], World]
    rows: Rows
    queue: Queue
    broadcast: Broadcast
    leases: Leases
    prices: Prices
    count_tokens: CountTokens
    metrics: Metrics
    policy: Policy
    timing: Timing
    chance: Callable[[], float] = random.random

    async def run(self, hint: Hint) -> None:
        """Claims the row and sees one attempt to its end. A hint whose row is not to be had is no error.

        Raises NotClaimed where the database stayed away.
        """
        try:
            work = await self.rows.claim(hint.id)
        except JobError as error:
            log.warning("claim.failed", id=hint.id, code=error.code)
            if isinstance(error, Retryable):
                raise NotClaimed from error
            return
        except Poisoned:
            log.error("attempt.poisoned", id=hint.id, kind=hint.kind)
            return
        if work is None:
            log.debug("claim.declined", id=hint.id)
            return
        await self.see_through(work)

    async def see_through(self, work: Work) -> tuple[Closing, ...]:
        """Sees an attempt that is ours to its end; the calls that it made."""
        with structlog.contextvars.bound_contextvars(kind=work.kind, id=work.id, attempt=work.attempt):
            attempt = self._begin(work)
            outcome = await self._perform(attempt)
            attempt.stream.abandon()
            await self._conclude(attempt, outcome)
        return tuple(attempt.ledger.closings)

    def _begin(self, work: Work) -> Attempt:
        stream = AttemptStream(
            work,
            self.rows,
            self.broadcast,
            checkpoint_every_s=self.timing.checkpoint_every_s,
            now=lambda: datetime.now(UTC),
            monotonic_s=time.monotonic,
        )
        ledger = AttemptLedger(work, self.rows, self.prices, self.count_tokens, time.monotonic)
        return Attempt(work, ledger, stream, time.monotonic())

    async def _perform(self, attempt: Attempt) -> Finished | Exception:
        """The job's outcome, as a value. The job runs in a task of its own: a lost lease cancels the job, not us."""
        task = asyncio.create_task(self._work_on(attempt))
        with self.leases.holding(attempt.work, task) as hold:
            try:
                return await task
            except asyncio.CancelledError:
                return Stopped() if hold.ended is None else Lost(hold.ended)
            except AttemptLost:
                return Lost("lost")
            except Exception as error:  # noqa: BLE001 - the one place that catches all: settle() decides by type
                return error

    async def _work_on(self, attempt: Attempt) -> Finished:
        job = self.jobs.get(attempt.work.kind)
        if job is None:  # another worker may have been deployed with it
            raise Retryable("kind.unknown", f"this worker has no job of kind {attempt.work.kind!r}")
        try:
            async with asyncio.timeout(self.timing.attempt_timeout_s):
                finished = await job(attempt.work, self.world(attempt.ledger, attempt.stream))
        except TimeoutError as error:
            raise Retryable("attempt.timeout", f"not done after {self.timing.attempt_timeout_s:g} s") from error
        await attempt.stream.close()
        return finished

    async def _conclude(self, attempt: Attempt, outcome: Finished | Exception) -> None:
        try:
            await self._record(attempt, outcome)
        except JobError as error:  # the lease will end, and the row run again
            log.error("attempt.unrecorded", code=error.code, outcome=type(outcome).__name__)
        if isinstance(outcome, Stopped):
            raise asyncio.CancelledError

    async def _record(self, attempt: Attempt, outcome: Finished | Exception) -> None:
        if isinstance(outcome, Lost):
            await self._write_what_is_left(attempt, is_canceled=str(outcome) == "canceled")
            self._report(attempt, str(outcome), outcome)
            return
        settlement = (
            Release()
            if isinstance(outcome, Stopped)
            else settle(outcome, tries=attempt.work.tries, policy=self.policy, chance=self.chance())
        )
        accepted = await self._write_back(attempt, settlement)
        self._report(attempt, _name_of(settlement) if accepted else "lost", outcome)

    async def _write_what_is_left(self, attempt: Attempt, *, is_canceled: bool) -> None:
        """Of an attempt that ended without us: what its calls used; if the owner canceled it, the text as well."""
        work, stream, calls = attempt.work, attempt.stream, tuple(attempt.ledger.closings)
        if is_canceled:
            await self.rows.keep_canceled(Canceled(work.id, work.attempt, stream.sent, calls, stream.first_token_at))
        else:
            await self.rows.close_calls(calls)

    async def _write_back(self, attempt: Attempt, settlement: Settlement) -> bool:
        """False: the attempt was lost. Raises Retryable when the database stayed away."""
        work, calls = attempt.work, tuple(attempt.ledger.closings)
        match settlement:
            case Retry(wait_s, error):
                accepted = await self.rows.retry(Requeued(work.id, work.attempt, calls, wait_s, error))
                if accepted:
                    await self._enqueue_again(work, wait_s)
                return accepted
            case Release(wait_s):
                accepted = await self.rows.release(Requeued(work.id, work.attempt, calls, wait_s))
                if accepted:
                    await self._enqueue_again(work, wait_s)
                return accepted
            case Finish(status, finished):
                ended = Ended(work.id, work.attempt, status, finished, None, calls, attempt.stream.first_token_at)
            case End(status, error):
                ended = Ended(work.id, work.attempt, status, None, error, calls, attempt.stream.first_token_at)
        try:
            return await self.rows.end(ended)
        except Unsettleable as problem:
            log.error("attempt.unsettleable", problem=str(problem))
            return await self._end_bare(work, calls)

    async def _end_bare(self, work: Work, calls: Sequence[Closing]) -> bool:
        """Ends a row that refused its values, with none of them; what the calls used is booked apart, if it can be."""
        error = {"code": "internal.unsettleable", "message": "The row refused the answer's values."}
        accepted = await self.rows.end(Ended(work.id, work.attempt, "failed", None, error, ()))
        try:
            await self.rows.close_calls(calls)
        except (JobError, Unsettleable) as problem:
            log.error("attempt.calls_unbooked", problem=str(problem), calls=len(calls))
        return accepted

    async def _enqueue_again(self, work: Work, wait_s: float) -> None:
        hint = Hint(work.id, work.attempt, work.kind, work.lane, work.tenant)
        try:
            self.metrics.hints_enqueued("executor", await self.queue.enqueue([hint], wait_s=wait_s))
        except QueueUnavailable:  # the sweeper will find it due
            log.warning("attempt.not_enqueued", wait_s=wait_s)

    def _report(self, attempt: Attempt, outcome: str, cause: Finished | Exception) -> None:
        """The canonical line, and the metrics: once for each attempt."""
        closings = attempt.ledger.closings
        duration_s = time.monotonic() - attempt.began_s
        self.metrics.attempt_ended(
            kind=attempt.work.kind,
            outcome=outcome,
            duration_s=duration_s,
            first_text_s=attempt.stream.first_text_after_s,
            calls=closings,
        )
        fields = {
            "outcome": outcome,
            "tries": attempt.work.tries,
            "duration_ms": round(1000 * duration_s),
            "calls": len(closings),
            "models": sorted({c.model.model for c in closings}),
            "tokens_in": sum(c.tokens_in or 0 for c in closings),
            "tokens_cached": sum(c.tokens_cached or 0 for c in closings),
            "tokens_out": sum(c.tokens_out or 0 for c in closings),
            "cost_usd": total_usd(closings),
            "reused": next((c.reused_id for c in closings if c.reused_id is not None), None),
            "failed_checks": next((list(c.failed_checks) for c in closings if c.failed_checks is not None), None),
            "failed_calls": [f"{c.route or c.model.model}: {c.error_code}" for c in closings if c.status == "failed"],
        }
        if isinstance(cause, Finished):
            log.info(
                "attempt.finished",
                route=cause.route,
                route_reason=cause.route_reason,
                variant=cause.variant,
                prompt_version=cause.prompt_version,
                **{**cause.noted, **fields},
            )
        elif isinstance(cause, JobError | Lost | Stopped):
            log.warning("attempt.finished", code=getattr(cause, "code", None), **fields)
        else:
            log.error("attempt.finished", code="internal.unexpected", exc_info=cause, **fields)


def _name_of(settlement: Settlement) -> str:
    match settlement:
        case Finish(status) | End(status):
            return status
        case Retry():
            return "retried"
        case Release():
            return "released"
