"""Rows of generations and of the ledger on Supabase; calls that meet share a round trip."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from jobs.decisions.falling_back import Failure
from jobs.decisions.pricing import over_budget
from jobs.errors import AttemptLost, JobError, Retryable
from jobs.ports import Opened, Opening, Work
from worker.adapters import write_backs
from worker.adapters.database import Database, QueryFailed, ValuesRefused
from worker.adapters.persisting import PERSISTENT, Persistence
from worker.batching import Batcher
from worker.ports import Canceled, Checkpoint, Closing, Due, Ended, Hint, Lease, Poisoned, Requeued, Unsettleable
from worker.settling import Policy

log = structlog.get_logger()

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = tuple[str, int]  # a generation's id and its attempt


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often, at most, calls of one kind begin while traffic lasts. The first after a pause begins at once."""

    claim_s: float = 0.08
    open_call_s: float = 0.05
    settle_s: float = 0.1
    checkpoint_s: float = 0.25


DEFAULT = Policy()
CLAIM_FOR_S = 15.0  # twice that at most; then another worker, which may reach the database, gets the hint


class SupabaseRows:
    """`worker.ports.Rows` for one worker process.

    `worker` names the process: no two live ones may share it. `opens` says which ledger row a claim opens for each kind
    of job. A renewal extends only what was claimed here and is not settled yet: an attempt whose outcome could not be
    recorded ends with its lease and runs again. A claim that nobody hears of, because its reply was lost or its waiter
    canceled, is released as soon as the database answers; whoever still waits then claims anew.
    """

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        lease_s: float,
        opens: Mapping[str, Opening],
        max_losses: int = DEFAULT.max_losses,
        intervals: Intervals = Intervals(),
        persistence: Persistence = PERSISTENT,
        uncached: Callable[[], None] = lambda: None,
    ) -> None:
        """`uncached` is called for each answer that stands in its row and could not be kept in the cache."""
        self._database = database
        self._worker = worker
        self._lease_s = lease_s
        self._max_losses = max_losses
        self._reserved_usd = {kind: opening.reserved_usd for kind, opening in opens.items()}
        self._opens = [{"kind": kind, **write_backs.opening(opening)} for kind, opening in opens.items()]
        self._persistence = persistence
        self._uncached = uncached
        self._claiming = replace(persistence, give_up_after_s=min(CLAIM_FOR_S, persistence.give_up_after_s))
        self._held: set[Key] = set()
        self._under_way: set[asyncio.Future[None]] = set()  # claims whose answer is not known yet
        self._handing_back: set[asyncio.Task[None]] = set()
        settle_s = intervals.settle_s
        self._claims = Batcher(isolated(self._claim), interval_s=intervals.claim_s, unclaimed=self._hand_back)
        self._openings = Batcher(isolated(self._open_calls), interval_s=intervals.open_call_s)
        self._checkpoints = Batcher(isolated(self._keep), interval_s=intervals.checkpoint_s)
        self._ends = Batcher(isolated(self._finish), interval_s=settle_s)
        self._retries = Batcher(isolated(self._requeue("retry_generations_v1", "retries")), interval_s=settle_s)
        self._releases = Batcher(isolated(self._requeue("release_generations_v1", "releases")), interval_s=settle_s)

    async def close(self) -> None:
        """Sends what waits and returns when it is answered."""
        batchers = (self._openings, self._checkpoints, self._ends, self._retries, self._releases)
        await self._claims.close()  # what it hands back goes by the releases
        await asyncio.gather(*self._handing_back)
        await asyncio.gather(*(batcher.close() for batcher in batchers))

    # Which rows are ours

    async def claim(self, id: str) -> Work | None:
        async def claim(_failures: int) -> Work | Poisoned | None:
            return value_of(await self._claims.submit(id))

        work = await self._claiming.call(claim)
        if isinstance(work, Poisoned):
            raise work
        return work

    async def begin(
        self, claims: Mapping[str, Any], kind: str, input: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Work:
        """A new row of the claims' owner, already ours: no other worker can have been quicker."""
        arguments = {
            "born": [{"claims": dict(claims), "kind": kind, "input": dict(input), "options": dict(options)}],
            "worker": self._worker,
            "lease_s": self._lease_s,
            "opens": [opening for opening in self._opens if opening["kind"] == kind],
        }
        (row,) = await self._database.call("begin_generation_v1", arguments)
        self._held.add((row["id"], row["attempt"]))
        return work_of(row, self._reserved_usd)

    def renew(self) -> Sequence[Lease]:
        """As the port says. The loop goes on claiming and settling meanwhile: what touches `_held` is one step each."""
        held = self._held.copy()
        if not held:
            return ()
        rows = self._database.call_from_thread("renew_generations_v1", self._naming(sorted({id for id, _ in held})))
        leases = tuple(Lease(row["generation_id"], row["attempt"], row["state"]) for row in rows)
        self._held.difference_update([(lease.id, lease.attempt) for lease in leases if lease.state != "held"])
        return leases

    async def due(self, *, grace_s: float, max_rows: int, after: Due | None = None) -> Sequence[Due]:
        arguments: dict[str, Any] = {"grace_s": grace_s, "max_rows": max_rows}
        if after is not None:
            arguments |= {"after_at": after.at.isoformat(), "after_id": after.hint.id}
        rows = await self._database.call("due_generations_v1", arguments)
        return tuple(
            Due(
                Hint(row["id"], row["attempt"], row["kind"], row["lane"], row["tenant"]),
                datetime.fromisoformat(row["due_at"]),
            )
            for row in rows
        )

    # While an attempt runs

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        return value_of(await self._checkpoints.submit(checkpoint))

    async def open_call(self, work: Work, opening: Opening, *, instead_of: str | None = None) -> str:
        answer = value_of(await self._openings.submit((work, opening, instead_of)))
        if answer["problem"] == "limits.usd_per_tenant_and_day":
            raise over_budget()
        if answer["problem"] is not None:
            raise AttemptLost("no ledger row was opened for it")
        call_id: str = answer["call_id"]
        return call_id

    async def close_calls(self, calls: Sequence[Closing]) -> None:
        if calls:
            closings = [write_backs.closing(call) for call in calls]
            await self._persistence.call(lambda _: self._database.call("close_calls_v1", {"closings": closings}))

    # How it ends

    async def end(self, ended: Ended) -> bool:
        row = write_backs.ended(ended)  # raises Unsettleable before anybody else is in the same call
        try:
            return await self._recorded((ended.id, ended.attempt), ended.status, lambda: self._ends.submit(row))
        except ValuesRefused as error:
            raise Unsettleable(error.message) from error

    async def keep_canceled(self, canceled: Canceled) -> bool:
        arguments = {"canceled": [write_backs.canceled(canceled)]}
        kept = await self._persistence.call(lambda _: self._database.call("keep_canceled_v1", arguments))
        return bool(kept)

    async def retry(self, requeued: Requeued) -> bool:
        row = write_backs.requeued(requeued)
        return await self._recorded((requeued.id, requeued.attempt), "retried", lambda: self._retries.submit(row))

    async def release(self, requeued: Requeued) -> bool:
        row = write_backs.requeued(requeued)
        return await self._recorded((requeued.id, requeued.attempt), "released", lambda: self._releases.submit(row))

    async def _recorded(
        self, key: Key, outcome: str, submit: Callable[[], Awaitable[bool | JobError | Unsettleable]]
    ) -> bool:
        """Whether the outcome stands, tried again while the database is away: it is the most important call of all.

        A reply may be lost after its write was accepted; the same write is then refused when it comes again. But only
        we were given this attempt, so if the attempt has the outcome that we wrote, it was our write.
        """

        async def record(failures: int) -> bool:
            accepted = value_of(await submit())
            return accepted or (failures > 0 and await self._outcome_of(key) == outcome)

        try:
            return await self._persistence.call(record)
        finally:
            self._held.discard(key)

    async def _outcome_of(self, key: Key) -> str | None:
        outcomes = await self._database.select("attempts", "outcome", {"generation_id": key[0], "attempt": key[1]})
        return outcomes[0] if outcomes else None

    # Batches

    async def _claim(self, ids: Sequence[str]) -> list[Work | Poisoned | None]:
        arguments = {
            "ids": unique(ids),
            "worker": self._worker,
            "lease_s": self._lease_s,
            "opens": self._opens,
            "max_losses": self._max_losses,
        }
        try:
            rows = await self._claimed(arguments)
        except Retryable:  # the claim may have been made all the same, and would keep the next one off
            with suppress(JobError):  # the lease ends it
                await self._release_unheard(ids)
            raise
        claimed = {
            row["id"]: work_of(row, self._reserved_usd) if row["status"] == "running" else Poisoned() for row in rows
        }
        return [claimed.pop(id, None) for id in ids]  # asked for twice: one gets it

    async def _claimed(self, arguments: Mapping[str, Any]) -> Any:
        under_way: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(under_way)
        try:
            rows = await self._database.call("claim_generations_v1", arguments)
            self._held.update([(row["id"], row["attempt"]) for row in rows if row["status"] == "running"])
            return rows
        finally:
            self._under_way.discard(under_way)
            under_way.set_result(None)

    def _hand_back(self, result: Work | Poisoned | JobError | None) -> None:
        """Releases a claim whose waiter was canceled meanwhile: its worker stops."""
        if isinstance(result, Work):
            self._later(self.release(Requeued(result.id, result.attempt, ())))

    async def _release_unheard(self, ids: Sequence[str]) -> None:
        """Releases what a claim gave out whose reply was lost; without this it would run when its lease has ended.

        A renewal lists our attempts on these rows. Claims that are under way by then may be about to tell of some of
        them, later ones not: once those have been answered, what is not held was never heard of.
        """
        rows = await self._claiming.call(
            lambda _: self._database.call("renew_generations_v1", self._naming(unique(ids)))
        )
        ours = [(row["generation_id"], row["attempt"]) for row in rows if row["state"] == "held"]
        if self._under_way:
            await asyncio.wait(self._under_way.copy())
        for id, attempt in ours:
            if (id, attempt) not in self._held:
                await self.release(Requeued(id, attempt, ()))

    def _naming(self, ids: Sequence[str]) -> dict[str, Any]:
        return {"worker": self._worker, "lease_s": self._lease_s, "ids": ids}

    def _later(self, write: Coroutine[Any, Any, Any]) -> None:
        async def settle() -> None:
            with suppress(JobError):  # the lease ends it
                await write

        task = asyncio.create_task(settle())
        self._handing_back.add(task)
        task.add_done_callback(self._handing_back.discard)

    async def _open_calls(self, openings: Sequence[tuple[Work, Opening, str | None]]) -> list[Mapping[str, Any]]:
        rows = [
            {"generation_id": work.id, "attempt": work.attempt, "instead_of": other, **write_backs.opening(opening)}
            for work, opening, other in openings
        ]
        answers = await self._database.call("open_calls_v3", {"opens": rows})
        return sorted(answers, key=lambda answer: answer["ordinal"])

    async def _keep(self, checkpoints: Sequence[Checkpoint]) -> list[bool]:
        latest = {(c.id, c.attempt): write_backs.checkpoint(c) for c in checkpoints}
        rows = await self._database.call("checkpoint_generations_v1", {"checkpoints": list(latest.values())})
        running = {(row["id"], row["attempt"]) for row in rows}
        return [(c.id, c.attempt) in running for c in checkpoints]

    async def _finish(self, rows: Sequence[write_backs.Row]) -> list[bool | Retryable | Unsettleable]:
        first = {key_of(row): row for row in reversed(rows)}  # the same attempt twice: the first is written
        answers = await self._database.call("finish_generations_v4", {"results": list(first.values())})
        self._tell_uncached(answers)
        outcome_of = {key_of(answer): outcome(answer) for answer in answers}
        return [outcome_of.get(key_of(row), False) if row is first[key_of(row)] else False for row in rows]

    def _tell_uncached(self, answers: Sequence[Mapping[str, Any]]) -> None:
        for answer in answers:
            if answer["uncached"] is not None:
                problem = write_backs.described(answer["uncached"])
                log.warning("answer.uncached", id=answer["id"], attempt=answer["attempt"], problem=problem)
                self._uncached()

    def _requeue(self, function: str, argument: str) -> Callable[[Sequence[write_backs.Row]], Awaitable[list[bool]]]:
        async def requeue(rows: Sequence[write_backs.Row]) -> list[bool]:
            first = {key_of(row): row for row in reversed(rows)}
            answers = await self._database.call(function, {argument: list(first.values())})
            accepted = {key_of(answer) for answer in answers}
            return [row is first[key_of(row)] and key_of(row) in accepted for row in rows]

        return requeue


def isolated(
    call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
) -> Callable[[Sequence[Item]], Awaitable[Sequence[Result | JobError]]]:
    """The call, halved where it is refused until the refused item is alone: the error is that item's result."""

    async def call_isolated(items: Sequence[Item]) -> Sequence[Result | JobError]:
        try:
            return await call(items)
        except (ValuesRefused, QueryFailed) as error:
            if len(items) == 1:
                return [error]
        middle = len(items) // 2
        return [*await call_isolated(items[:middle]), *await call_isolated(items[middle:])]

    return call_isolated


def value_of(result: Result | JobError | Unsettleable) -> Result:
    if isinstance(result, JobError | Unsettleable):
        raise result
    return result


LOCKED = "(55P03)"  # the automation's target is being written by another transaction; the row is left running


def outcome(answer: Mapping[str, Any]) -> bool | Retryable | Unsettleable:
    problem: str | None = answer["problem"]
    if problem is None:
        return bool(answer["accepted"])
    if problem.endswith(LOCKED):
        return Retryable("target.locked", "the automation's row is being written by another transaction")
    return Unsettleable(write_backs.described(problem))


def key_of(row: Mapping[str, Any]) -> Key:
    return row["id"], row["attempt"]


def unique(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def work_of(row: Mapping[str, Any], reserved_usd: Mapping[str, float | None]) -> Work:
    """`reserved_usd`: by kind, in the ledger row that the claim opened."""
    return Work(
        id=row["id"],
        attempt=row["attempt"],
        tries=row["tries"],
        kind=row["kind"],
        lane=row["lane"],
        tenant=row["tenant"],
        user_id=row["user_id"],
        input=row["input"],
        options=row["options"],
        created_at=datetime.fromisoformat(row["created_at"]),
        first_call=None if row["call_id"] is None else Opened(row["call_id"], reserved_usd[row["kind"]]),
        broken_off=tuple(Failure(broken["route"], broken["code"]) for broken in row["broken_off"]),
        budget_left_share=row["budget_left_share"],
    )
