"""Judged from outside: what clients received, what the model was asked, what stands in the rows and in Redis."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, TypeVar

from chaos_clients import Watched
from chaos_faults import Happened, process_of
from chaos_model import WORDS, Asked
from chaos_stage import LEASE_S

Thing = TypeVar("Thing")
Key = TypeVar("Key")

RERUN_S = LEASE_S + 1.0
CANCEL_S = LEASE_S / 3 + 1.0
HURTS_THE_DATABASE = ("gateway.",)
CUT_SHORT = ("model.stream_cut", "model.timeout")
CALM_CANCELS = 2
SHOWN = 5


@dataclass(frozen=True)  # no slots: of its cached properties
class Evidence:
    watched: Sequence[Watched]
    generations: Mapping[str, Mapping[str, Any]]  # by id
    attempts: Sequence[Mapping[str, Any]]
    calls: Mapping[str, Mapping[str, Any]]  # by id
    asked: Sequence[Asked]
    happened: Sequence[Happened]
    calm_kills: Sequence[Happened]
    calm_cancels: Sequence[Happened]
    leftover_keys: Sequence[str]
    leftover_processes: Sequence[int]
    stubborn: int

    def hurt(self, attempt: Mapping[str, Any]) -> bool:
        """Whether its worker was killed, stopped or told to stop while it ran, by the row."""
        return any(fault.overlaps(attempt) for fault in self._faults_of[process_of(attempt["worker"])])

    def attempts_of(self, id: str) -> list[Mapping[str, Any]]:
        return self._attempts_of[id]

    @cached_property
    def _faults_of(self) -> Mapping[int | None, list[Happened]]:
        """By process id."""
        return grouped(self.happened, lambda fault: fault.worker)

    @cached_property
    def _attempts_of(self) -> Mapping[str, list[Mapping[str, Any]]]:
        return grouped(self.attempts, lambda attempt: str(attempt["generation_id"]))


@dataclass(frozen=True, slots=True)
class Check:
    """`misses`: what contradicts the claim; none is allowed."""

    claim: str
    misses: tuple[str, ...]

    def __str__(self) -> str:
        shown = "".join(f"\n       {miss}" for miss in self.misses[:SHOWN])
        more = f"\n       … and {len(self.misses) - SHOWN} more" if len(self.misses) > SHOWN else ""
        return f"{'MISS' if self.misses else 'ok  '} {self.claim}{shown}{more}"


def judge(evidence: Evidence) -> list[Check]:
    return [
        Check("every row ended, and its client saw it end once", tuple(unended(evidence))),
        Check("each visible answer is from one attempt, the accepted one", tuple(mixed(evidence))),
        Check("every row was finished by exactly one attempt", tuple(finished_otherwise(evidence))),
        Check("every call of the model is in the ledger, and the reverse", tuple(unbooked(evidence))),
        Check("no row was taken from a worker that lived and reached the database", tuple(robbed(evidence))),
        Check(f"a killed worker's rows run again within the lease and 1 s ({RERUN_S:g} s)", tuple(late(evidence))),
        Check(
            f"a canceled row's model call stops within a third of the lease and 1 s ({CANCEL_S:g} s)",
            tuple(endless(evidence)),
        ),
        Check("no key of a job and no process is left, and every worker ended when told", tuple(leftovers(evidence))),
    ]


def unended(evidence: Evidence) -> Iterable[str]:
    for row in evidence.watched:
        stored = evidence.generations[row.id]
        wanted = {"canceled"} if row.canceled_at else {"succeeded"}
        if row.problem:
            yield f"{row.id}: its client was refused: {row.problem}"
        elif stored["status"] not in wanted:
            yield f"{row.id}: {stored['status']} {stored['error'] or ''}"
        elif not row.has_ended:
            yield f"{row.id}: {stored['status']}, and its client never heard"
        elif sum(update.is_finished for update in row.updates) != 1 or row.updates[-1].status != stored["status"]:
            yield f"{row.id}: its client saw {[update.status for update in row.updates]}"


def mixed(evidence: Evidence) -> Iterable[str]:
    """Every word of an answer is its call's id, so a text tells whose it is."""
    for row in evidence.watched:
        for update in row.updates:
            # The last word may not be whole yet.
            if len(set(update.text.split(" ")[:-1])) > 1:
                yield f"{row.id}: its client saw words of several calls at once"
                break
        stored = evidence.generations[row.id]
        answer = stored["answer"] or ""
        seen = row.updates[-1].text if row.has_ended else answer
        # A canceled row ends at once, and gets the rest of its text when its worker hears of it.
        if seen != answer and not (stored["status"] == "canceled" and answer.startswith(seen)):
            yield f"{row.id}: its client ended with another text than the row's"
        if stored["status"] != "succeeded":
            continue
        words = answer.split()
        call = evidence.calls.get(words[0]) if words else None
        if len(set(words)) != 1 or len(words) != WORDS or call is None:
            yield f"{row.id}: its answer is not one call's whole text"
        elif (call["generation_id"], call["attempt"], call["status"]) != (row.id, stored["attempt"], "succeeded"):
            yield f"{row.id}: its answer is of attempt {call['attempt']} ({call['status']}), not {stored['attempt']}"


def finished_otherwise(evidence: Evidence) -> Iterable[str]:
    for row in evidence.watched:
        stored, attempts = evidence.generations[row.id], evidence.attempts_of(row.id)
        finishing = [a["attempt"] for a in attempts if a["outcome"] not in {"lost", "retried", "released"}]
        by_nobody = stored["status"] == "canceled" and not finishing  # canceled while it was queued
        if not by_nobody and finishing != [stored["attempt"]]:
            yield f"{row.id}: attempt {stored['attempt']}, ended by {finishing}: {[a['outcome'] for a in attempts]}"
        if [a["attempt"] for a in attempts] != list(range(1, stored["attempt"] + 1)):
            yield f"{row.id}: its attempts are {[a['attempt'] for a in attempts]}"


def unbooked(evidence: Evidence) -> Iterable[str]:
    """What a call used that was cut short is known to who read it: not to a worker that was stopped meanwhile."""
    hurt = {(a["generation_id"], a["attempt"]) for a in evidence.attempts if evidence.hurt(a)}
    asked = {asked.call_id: asked for asked in evidence.asked}
    for call_id, times in Counter(asked.call_id for asked in evidence.asked).items():
        if call_id not in evidence.calls:
            yield f"{call_id}: the model was asked, the ledger does not know"
        if times > 1:
            yield f"{call_id}: the model was asked {times} times for one row of the ledger"
    for call_id, call in evidence.calls.items():
        seen = asked.get(call_id)
        if call["status"] == "open":
            yield f"{call_id}: still open"
        elif call["status"] == "succeeded" and (seen is None or seen.outcome != "finished"):
            yield f"{call_id}: succeeded, but the model says {seen and seen.outcome}"
        elif call["status"] == "succeeded" and seen and seen.endpoint == "chat" and call["tokens_out"] != seen.words:
            yield f"{call_id}: {call['tokens_out']} tokens are booked, {seen.words} were sent"
        elif (
            call["error_code"] in CUT_SHORT
            and not call["is_estimated"]
            and (seen is not None and seen.fault in {"cut", "stalled"})
            and (call["generation_id"], call["attempt"]) not in hurt
        ):
            yield f"{call_id}: {seen.words} words were sent before {call['error_code']}, and are not booked"


def robbed(evidence: Evidence) -> Iterable[str]:
    """A lost attempt has a cause: its worker was killed or stopped, or the database was out of reach meanwhile."""
    outages = [fault for fault in evidence.happened if fault.kind.startswith(HURTS_THE_DATABASE)]
    for attempt in evidence.attempts:
        if attempt["outcome"] != "lost" or evidence.hurt(attempt):
            continue
        if not any(fault.overlaps(attempt) for fault in outages):
            yield f"{attempt['generation_id']}: attempt {attempt['attempt']} was lost without a cause"


def reruns(evidence: Evidence, kills: Iterable[Happened]) -> list[float]:
    """Seconds from a kill to the next attempt, of each row that the killed worker held."""
    killed_at = {fault.worker: fault.began for fault in kills}
    begun = {(a["generation_id"], a["attempt"]): a["started_at"].timestamp() for a in evidence.attempts}
    waits = []
    for attempt in evidence.attempts:
        at = killed_at.get(process_of(attempt["worker"]))
        again = begun.get((attempt["generation_id"], attempt["attempt"] + 1))
        if attempt["outcome"] == "lost" and at is not None and again is not None and again > at:
            waits.append(again - at)
    return waits


def late(evidence: Evidence) -> Iterable[str]:
    """Kills while nothing else went wrong. Two faults at once may well take longer."""
    waits = reruns(evidence, evidence.calm_kills)
    if not waits:
        yield "no killed worker held a row"
    for wait_s in waits:
        if wait_s > RERUN_S:
            yield f"{wait_s:.2f} s"


def endless(evidence: Evidence) -> Iterable[str]:
    """Of the cancels while nothing else went wrong."""
    if len(evidence.calm_cancels) != CALM_CANCELS:
        yield f"{len(evidence.calm_cancels)} of {CALM_CANCELS} were seen to stop"
    for fault in evidence.calm_cancels:
        if (fault.ended or 0.0) - fault.began > CANCEL_S:
            yield f"{(fault.ended or 0.0) - fault.began:.2f} s"


def leftovers(evidence: Evidence) -> Iterable[str]:
    yield from (f"key {key}" for key in evidence.leftover_keys)
    yield from (f"process {process}" for process in evidence.leftover_processes)
    if evidence.stubborn:
        yield f"{evidence.stubborn} workers had to be killed"


def figures(evidence: Evidence) -> dict[str, Any]:
    kills = [fault for fault in evidence.happened if fault.kind == "worker.sigkill"]
    calm, all_of_them = reruns(evidence, evidence.calm_kills), reruns(evidence, kills)
    outcomes = Counter(attempt["outcome"] or "running" for attempt in evidence.attempts)
    chats = [asked for asked in evidence.asked if asked.endpoint == "chat"]
    by_webhook, by_renewal = [*(round(f.ended - f.began, 2) for f in evidence.calm_cancels if f.ended), None, None][:2]
    asked_for = Counter(evidence.calls[a.call_id]["generation_id"] for a in chats if a.call_id in evidence.calls)
    return {
        "rows": len(evidence.watched),
        "attempts": len(evidence.attempts),
        "outcomes": dict(sorted(outcomes.items())),
        "model_calls": len(chats),
        "repeated_calls": asked_for.total() - len(asked_for),
        "kill_to_rerun_s": rounded(calm),
        "kill_to_rerun_amid_chaos_s": rounded(all_of_them),
        "cancel_to_model_stopped_s": {"by_webhook": by_webhook, "by_renewal": by_renewal},
    }


def grouped(things: Iterable[Thing], key: Callable[[Thing], Key]) -> Mapping[Key, list[Thing]]:
    groups: defaultdict[Key, list[Thing]] = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return groups


def rounded(numbers: Sequence[float]) -> dict[str, float] | None:
    return {"median": round(median(numbers), 2), "max": round(max(numbers), 2)} if numbers else None
