"""The protocol between rows, queue and workers as a state machine small enough to look at every one of its states.

What is modelled is what `supabase/migrations/*_lifecycle.sql`, the queue, the executor, the leases and the sweeper
agree on. Messages may be lost, delayed and doubled; workers die at any moment, or stop for any time and go on. Time is
counted in ticks. Whoever lives acts in time: no tick passes while a lease that its worker could renew is at its end.

Each step has a name, so that a path through the states reads as a story.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from worker.lifecycle import Status, move_is_allowed

Alarm = Literal[
    "a second answer becomes visible",
    "a write-back is accepted of an attempt that does not hold the row",
    "a row is taken from a worker that neither died nor stopped",
]
ALARMS: frozenset[Alarm] = frozenset(get_args(Alarm))
ENDED = frozenset({"succeeded", "failed", "canceled"})
IDLE_ATTEMPT = 0


class Row(NamedTuple):
    status: Status | Literal["absent"] = "absent"
    attempt: int = 0
    lease: int = 0  # ticks left to the running attempt
    losses: int = 0
    tries: int = 0
    answers: tuple[int, ...] = ()  # the attempts whose answers became visible


class Worker(NamedTuple):
    doing: Literal["nothing", "claiming", "working", "settling"] = "nothing"
    row: int = 0
    attempt: int = IDLE_ATTEMPT
    progress: int = 0  # ticks of work done
    pace: Literal["steady", "stopped", "resumed"] = "steady"


class WriteBack(NamedTuple):
    """On its way to the database; it may arrive much later, and after its worker's death."""

    row: int
    attempt: int
    verb: Literal["finish", "retry", "release"]


class Faults(NamedTuple):
    """How often each may still happen."""

    deaths: int = 0
    stops: int = 0
    lost_queues: int = 0
    lost_replies: int = 0
    errors: int = 0  # of the model: the attempt is retried
    shutdowns: int = 0  # SIGTERM: the attempt is released
    cancels: int = 0


NO_FAULTS = Faults()


class State(NamedTuple):
    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]  # sorted: they are alike
    hints: tuple[int, ...]  # rows, sorted; twice is a duplicate
    writes: tuple[WriteBack, ...]
    left: Faults
    alarm: Alarm | None = None  # what must never happen, and just did

    @property
    def has_ended(self) -> bool:
        return all(row.status in ENDED for row in self.rows)


class Step(NamedTuple):
    name: str
    after: State
    is_fault: bool = False  # nothing makes it happen


@dataclass(frozen=True, slots=True)
class Protocol:
    """The rules. Taking one out shows what it is for."""

    workers: int = 2
    rows: int = 1
    lease: int = 2
    work: int = 3  # longer than a lease
    max_losses: int = 2
    max_tries: int = 2
    faults: Faults = NO_FAULTS
    fence: Literal["attempt", "status", "none"] = "attempt"  # what a write-back must agree with to be accepted
    sweeper: bool = True
    renewal: bool = True

    def beginning(self) -> State:
        return State((Row(),) * self.rows, (Worker(),) * self.workers, (), (), self.faults)

    def steps(self, state: State) -> Iterator[Step]:
        for number, row in enumerate(state.rows):
            yield from self._of_row(state, number, row)
        for number, worker in enumerate(state.workers):
            yield from self._of_worker(state, number, worker)
        for write in dict.fromkeys(state.writes):
            yield from self._of_write(state, write)
        yield from self._of_time(state)
        if state.left.lost_queues and state.hints:
            yield Step("the queue loses its data", _spent(state, "lost_queues")._replace(hints=()), is_fault=True)

    # Rows: clients and the sweeper

    def _of_row(self, state: State, number: int, row: Row) -> Iterator[Step]:
        if row.status == "absent":
            inserted = _with_row(state, number, row._replace(status="queued"))
            yield Step(f"row {number} is inserted, its webhook is lost", inserted)
            yield Step(f"row {number} is inserted", _with_hints(inserted, number))
            yield Step(f"row {number} is inserted, its webhook comes twice", _with_hints(inserted, number, number))
        elif self.sweeper and number not in state.hints and _is_due(row):
            yield Step(f"the sweeper finds row {number}", _with_hints(state, number))
        if state.left.cancels and row.status in {"queued", "running"}:
            canceled = _with_row(_spent(state, "cancels"), number, row._replace(status="canceled"))
            yield Step(f"the owner cancels row {number}", canceled, is_fault=True)

    # Workers

    def _of_worker(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        if worker.pace == "stopped":
            yield Step("a worker goes on", _with_worker(state, number, worker._replace(pace="resumed")))
            return
        match worker.doing:
            case "nothing":
                for row in sorted(set(state.hints)):
                    taken = _with_worker(state, number, worker._replace(doing="claiming", row=row))
                    yield Step(f"a worker takes the hint of row {row}", _without_hint(taken, row))
            case "claiming":
                yield from self._of_claim(state, number, worker)
            case "working":
                yield from self._of_work(state, number, worker)
                yield from self._of_renewal(state, number, worker)
            case "settling":
                yield from self._of_renewal(state, number, worker)
        if worker.doing != "nothing":
            yield from self._of_fate(state, number, worker)

    def _of_claim(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        row = state.rows[worker.row]
        idle = _with_worker(state, number, Worker())
        if not _is_due(row):
            yield Step(f"the claim of row {worker.row} is declined", idle)
            return
        is_lost = row.status == "running"
        if is_lost and any(_holds(other, worker.row, row) and other.pace == "steady" for other in state.workers):
            state = state._replace(alarm="a row is taken from a worker that neither died nor stopped")
        losses = row.losses + is_lost
        if is_lost and losses >= self.max_losses:
            poisoned = _with_row(state, worker.row, row._replace(status="failed", losses=losses))
            yield Step(f"row {worker.row} is poisoned", _with_worker(poisoned, number, Worker()))
            return
        attempt = row.attempt + 1
        running = row._replace(status="running", attempt=attempt, lease=self.lease, losses=losses, tries=row.tries + 1)
        claimed = _with_row(state, worker.row, running)
        working = worker._replace(doing="working", attempt=attempt)
        name = f"a worker claims row {worker.row} as attempt {attempt}"
        yield Step(name, _with_worker(claimed, number, working))
        if state.left.lost_replies:
            unheard = _with_worker(_spent(claimed, "lost_replies"), number, Worker())
            yield Step(f"{name}, and the reply is lost", unheard, is_fault=True)

    def _of_work(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        settling = _with_worker(state, number, worker._replace(doing="settling"))
        if worker.progress == self.work:
            yield Step(f"attempt {worker.attempt} is done", _with_write(settling, worker, "finish"))
            return
        if state.left.errors:
            failed = _with_write(_spent(settling, "errors"), worker, "retry")
            yield Step(f"the model fails attempt {worker.attempt}", failed, is_fault=True)
        if state.left.shutdowns:
            stopping = _with_write(_spent(settling, "shutdowns"), worker, "release")
            yield Step(f"the worker of attempt {worker.attempt} is told to stop", stopping, is_fault=True)

    def _of_renewal(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        row = state.rows[worker.row]
        if not self.renewal or (row.lease == self.lease and _holds(worker, worker.row, row)):
            return
        if _holds(worker, worker.row, row):
            renewed = _with_row(state, worker.row, row._replace(lease=self.lease))
            yield Step(f"attempt {worker.attempt} is renewed", renewed)
        else:
            yield Step(f"attempt {worker.attempt} hears that it ended", _with_worker(state, number, Worker()))

    def _of_fate(self, state: State, number: int, worker: Worker) -> Iterator[Step]:
        if state.left.deaths:
            dead = _with_worker(_spent(state, "deaths"), number, Worker())
            yield Step(f"the worker {worker.doing} on row {worker.row} dies", dead, is_fault=True)
        if state.left.stops:
            stopped = _with_worker(_spent(state, "stops"), number, worker._replace(pace="stopped"))
            yield Step(f"the worker {worker.doing} on row {worker.row} stops", stopped, is_fault=True)

    # Write-backs

    def _of_write(self, state: State, write: WriteBack) -> Iterator[Step]:
        name = f"{write.verb} of attempt {write.attempt} reaches row {write.row}"
        written = self._written(state, write)
        remaining = list(state.writes)
        remaining.remove(write)
        heard = tuple(
            Worker() if w.doing == "settling" and (w.row, w.attempt) == write[:2] and w.pace != "stopped" else w
            for w in state.workers
        )
        yield Step(name, written._replace(writes=tuple(remaining), workers=tuple(sorted(heard))))
        if state.left.lost_replies:  # then it is sent again
            yield Step(f"{name}, and the reply is lost", _spent(written, "lost_replies"), is_fault=True)

    def _written(self, state: State, write: WriteBack) -> State:
        """After the database has seen the write-back: accepted, or not."""
        row = state.rows[write.row]
        accepted = {
            "attempt": row.status == "running" and row.attempt == write.attempt,
            "status": row.status == "running",
            "none": True,
        }[self.fence]
        if not accepted:
            return state
        if row.attempt != write.attempt:
            state = state._replace(alarm="a write-back is accepted of an attempt that does not hold the row")
        match write.verb:
            case "finish":
                answers = (*row.answers, write.attempt)[-2:]
                if len(answers) > 1:
                    state = state._replace(alarm="a second answer becomes visible")
                row = row._replace(status="succeeded", answers=answers)
            case "retry":
                row = row._replace(status="queued" if row.tries < self.max_tries else "failed")
            case "release":
                row = row._replace(status="queued", tries=row.tries - 1)
        return _with_row(state, write.row, row, is_checked=self.fence != "none")

    # Time

    def _of_time(self, state: State) -> Iterator[Step]:
        if any(self._must_act(state, worker) for worker in state.workers):
            return
        rows = tuple(
            row._replace(lease=max(0, row.lease - 1)) if row.status == "running" else row for row in state.rows
        )
        workers = tuple(sorted(self._worked(worker) for worker in state.workers))
        if (rows, workers) != (state.rows, state.workers):
            yield Step("time passes", state._replace(rows=rows, workers=workers))

    def _must_act(self, state: State, worker: Worker) -> bool:
        """Whether this worker does something before the next tick."""
        if worker.pace == "stopped" or worker.doing not in {"working", "settling"}:
            return False
        row = state.rows[worker.row]
        is_late = self.renewal and (row.lease <= 1 or not _holds(worker, worker.row, row))
        return is_late or (worker.doing == "working" and worker.progress == self.work)

    def _worked(self, worker: Worker) -> Worker:
        if worker.doing != "working" or worker.pace == "stopped":
            return worker
        return worker._replace(progress=min(self.work, worker.progress + 1))


def _is_due(row: Row) -> bool:
    return row.status == "queued" or (row.status == "running" and row.lease == 0)


def _holds(worker: Worker, number: int, row: Row) -> bool:
    """Whether the worker runs the row's attempt, by the row."""
    is_at_it = worker.doing in {"working", "settling"} and (worker.row, worker.attempt) == (number, row.attempt)
    return is_at_it and row.status == "running"


def _with_row(state: State, number: int, row: Row, *, is_checked: bool = True) -> State:
    before = state.rows[number].status
    if is_checked and before != "absent" and row.status not in {"absent", before}:
        assert move_is_allowed(before, row.status), f"{before} → {row.status} is no move"
    if row.status != "running":
        row = row._replace(lease=0)
    return state._replace(rows=(*state.rows[:number], row, *state.rows[number + 1 :]))


def _with_worker(state: State, number: int, worker: Worker) -> State:
    return state._replace(workers=tuple(sorted((*state.workers[:number], worker, *state.workers[number + 1 :]))))


def _with_hints(state: State, *rows: int) -> State:
    return state._replace(hints=tuple(sorted((*state.hints, *rows))))


def _without_hint(state: State, row: int) -> State:
    hints = list(state.hints)
    hints.remove(row)
    return state._replace(hints=tuple(hints))


def _with_write(state: State, worker: Worker, verb: Literal["finish", "retry", "release"]) -> State:
    return state._replace(writes=tuple(sorted((*state.writes, WriteBack(worker.row, worker.attempt, verb)))))


def _spent(state: State, fault: str) -> State:
    return state._replace(left=state.left._replace(**{fault: getattr(state.left, fault) - 1}))
