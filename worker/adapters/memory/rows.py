from collections.abc import Mapping, Sequence
from datetime import timedelta

from jobs.decisions.pricing import over_budget
from jobs.errors import AttemptLost, Permanent
from jobs.ports import Opened, Opening, Work
from worker.adapters import write_backs
from worker.adapters.memory.database import Attempt, Generation, MemoryDatabase, integers_fit
from worker.lifecycle import Status
from worker.ports import Canceled, Checkpoint, Closing, Due, Ended, Hint, Lease, Poisoned, Requeued, Unsettleable
from worker.settling import Policy
from worker.storable import storable


class MemoryRows:
    """`worker.ports.Rows` for one worker on a `MemoryDatabase` that it may share with others."""

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        worker: str,
        lease_s: float,
        opens: Mapping[str, Opening],
        max_losses: int = Policy().max_losses,
    ) -> None:
        self.database = database
        self._max_losses = max_losses
        self._worker = worker
        self._lease = timedelta(seconds=lease_s)
        self._opens = opens
        self._held: set[tuple[str, int]] = set()

    async def claim(self, id: str) -> Work | None:
        now = self.database.now()
        generation = self.database.generations.get(id)
        if generation is None or not self._is_due(generation):
            return None
        self._leave_behind(generation)
        if generation.losses >= self._max_losses:
            generation.move("failed")
            generation.error = {"code": "attempt.poisoned", "message": f"Its worker died {generation.losses} times."}
            raise Poisoned
        generation.move("running")
        generation.attempt += 1
        generation.tries += 1
        generation.error = None
        generation.attempts[generation.attempt] = Attempt(self._worker, now + self._lease)
        self._held.add((id, generation.attempt))
        opening = self._opens.get(generation.kind)
        opened = None if opening is None else self.database.open_call(generation, opening)
        first_call = None if opening is None or opened is None else Opened(opened, opening.reserved_usd)
        return work_of(generation, first_call, self.database)

    def renew(self) -> Sequence[Lease]:
        leases = tuple(lease for key in sorted(self._held) if (lease := self._renewed(*key)) is not None)
        self._held -= {(lease.id, lease.attempt) for lease in leases if lease.state != "held"}
        return leases

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        attempt = self._attempt(checkpoint.id, checkpoint.attempt)
        if attempt is None or attempt.outcome is not None:
            return False
        row = storable(write_backs.checkpoint(checkpoint))
        attempt.partial, attempt.partial_offset = row["partial"], row["offset"]
        return True

    async def end(self, ended: Ended) -> bool:
        row = storable(write_backs.ended(ended))
        if not integers_fit(row):
            raise Unsettleable("the database refused the row (22003)")
        accepted = self._settle(ended.id, ended.attempt, ended.status, ended.status)
        if accepted is not None:
            accepted.result, accepted.error = row, row["error"]
            if ended.finished is not None and ended.finished.reusable is not None:
                self.database.remember(accepted, ended.finished.reusable)
        self._book(accepted, row)
        return accepted is not None

    async def keep_canceled(self, canceled: Canceled) -> bool:
        row, attempt = storable(write_backs.canceled(canceled)), self._attempt(canceled.id, canceled.attempt)
        self.database.close_calls(row["calls"])
        if attempt is None or attempt.outcome != "canceled":
            return False
        result = self.database.generations[canceled.id].result
        if row["partial"].startswith(result["answer"] or ""):
            result["answer"] = row["partial"] or result["answer"]
        result |= {name: row[name] for name in ("tokens_in", "tokens_cached", "tokens_out", "cost_usd")}
        return True

    async def retry(self, requeued: Requeued) -> bool:
        return self._requeue(requeued, "retried", tries_back=0)

    async def release(self, requeued: Requeued) -> bool:
        return self._requeue(requeued, "released", tries_back=1)

    async def due(self, *, grace_s: float, max_rows: int, after: Due | None = None) -> Sequence[Due]:
        now = self.database.now()
        latest = now - timedelta(seconds=grace_s)
        since = {
            id: g.run_at if g.status == "queued" else g.attempts[g.attempt].lease_until
            for id, g in self.database.generations.items()
            if (g.status == "queued" and g.run_at <= latest)
            or (g.status == "running" and g.attempts[g.attempt].lease_until <= now)
        }
        found = sorted((at, id) for id, at in since.items() if after is None or (at, id) > (after.at, after.hint.id))
        page = [(self.database.generations[id], at) for at, id in found[:max_rows]]
        return tuple(Due(Hint(g.id, g.attempt, g.kind, g.lane, g.tenant), at) for g, at in page)

    async def open_call(self, work: Work, opening: Opening, *, instead_of: str | None = None) -> str:
        if instead_of is not None:
            self.database.drop_call(work.id, instead_of)
        generation = self.database.held(work.id, work.attempt)
        if generation is None:
            raise AttemptLost("no ledger row was opened for it")
        call_id = self.database.open_call(generation, opening)
        if call_id is None:
            raise over_budget()
        return call_id

    async def close_calls(self, calls: Sequence[Closing]) -> None:
        rows = [write_backs.closing(call) for call in calls]
        if not integers_fit(rows):
            raise Permanent("database.refused", "close_calls_v1 was refused (22003)")
        self.database.close_calls(rows)

    def _is_due(self, generation: Generation) -> bool:
        now = self.database.now()
        if generation.status == "queued":
            return generation.run_at <= now
        return generation.status == "running" and generation.attempts[generation.attempt].lease_until <= now

    def _leave_behind(self, generation: Generation) -> None:
        """The attempt whose lease ended is lost, its open calls are abandoned."""
        for attempt in generation.attempts.values():
            if attempt.outcome is None:
                attempt.outcome = "lost"
                generation.losses += 1
        self.database.abandon_calls(generation.id)

    def _attempt(self, id: str, number: int) -> Attempt | None:
        generation = self.database.generations.get(id)
        return None if generation is None else generation.attempts.get(number)

    def _renewed(self, id: str, number: int) -> Lease | None:
        attempt = self._attempt(id, number)
        match None if attempt is None else attempt.outcome:
            case "lost" | "canceled" as state:
                return Lease(id, number, state)
            case None if attempt is not None:
                attempt.lease_until = self.database.now() + self._lease
                return Lease(id, number, "held")
            case _:
                return None

    def _settle(self, id: str, number: int, after: Status, outcome: str) -> Generation | None:
        self._held.discard((id, number))
        generation = self.database.held(id, number)
        if generation is not None:
            generation.move(after)
            generation.attempts[number].outcome = outcome
        return generation

    def _requeue(self, requeued: Requeued, outcome: str, *, tries_back: int) -> bool:
        row = storable(write_backs.requeued(requeued))
        generation = self._settle(requeued.id, requeued.attempt, "queued", outcome)
        if generation is not None:
            generation.run_at = self.database.now() + timedelta(seconds=requeued.wait_s)
            generation.error = row["error"]
            generation.tries -= tries_back
        self._book(generation, row)
        return generation is not None

    def _book(self, settled: Generation | None, row: write_backs.Row) -> None:
        self.database.close_calls(row["calls"])
        if settled is not None:
            self.database.abandon_calls(settled.id)


def work_of(generation: Generation, first_call: Opened | None, database: MemoryDatabase) -> Work:
    return Work(
        id=generation.id,
        attempt=generation.attempt,
        tries=generation.tries,
        kind=generation.kind,
        lane=generation.lane,
        tenant=generation.tenant,
        user_id=generation.user_id,
        input=generation.input,
        options=generation.options,
        created_at=generation.created_at,
        first_call=first_call,
        broken_off=database.broken_off(generation.id),
        budget_left_share=database.budget_left_share(generation.tenant),
    )
