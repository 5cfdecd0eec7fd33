"""What becomes of an attempt: its outcome, and the tries so far, decide the write-back.

Pure: chance is an argument.
"""

from dataclasses import dataclass
from typing import Literal

from jobs.errors import JobError, Permanent, Postponed, Refused, Retryable, Superseded
from jobs.ports import Finished

Error = dict[str, str]  # {"code", "message"}: as it stands in the row


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how fast a generation is tried again."""

    max_tries: int = 5
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    max_tries_of_bugs: int = 2
    max_losses: int = 3  # attempts that ended with their lease; the claim, which sees them, fails the row


@dataclass(frozen=True, slots=True)
class Finish:
    status: Literal["succeeded", "review"]
    finished: Finished


@dataclass(frozen=True, slots=True)
class End:
    """The row ends without an answer."""

    status: Literal["failed", "refused"]
    error: Error


@dataclass(frozen=True, slots=True)
class Retry:
    wait_s: float
    error: Error


@dataclass(frozen=True, slots=True)
class Release:
    """The attempt is handed back untried."""

    wait_s: float = 0.0


Settlement = Finish | End | Retry | Release


def settle(outcome: Finished | Exception, *, tries: int, policy: Policy, chance: float) -> Settlement:
    """The write-back for an attempt that ended with `outcome`. `chance` is uniform in [0, 1): the jitter."""
    match outcome:
        case Finished():
            return Finish("review" if outcome.needs_review else "succeeded", outcome)
        case Refused():
            return End("refused", error_of(outcome))
        case Superseded():
            return Finish("succeeded", Finished(output={"superseded": True}))
        case Permanent():
            return End("failed", error_of(outcome))
        case Postponed():
            return Release(outcome.wait_s or 0.0)
        case Retryable() if tries < policy.max_tries:
            return Retry(max(backoff_s(tries, policy, chance), outcome.wait_s or 0.0), error_of(outcome))
        case Retryable():
            return End("failed", error_of(outcome))
        case _ if tries < policy.max_tries_of_bugs:
            return Retry(backoff_s(tries, policy, chance), error_of(outcome))
        case _:
            return End("failed", error_of(outcome))


def backoff_s(tries: int, policy: Policy, chance: float) -> float:
    """Exponential backoff with full jitter: uniform in [0, min(cap, base * 2^(tries - 1))).

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return chance * min(policy.backoff_cap_s, policy.backoff_base_s * 2.0 ** min(tries - 1, 30))


def error_of(error: Exception) -> Error:
    """What the row says of an error. The text of an unexpected one stays in the log: it may hold anything."""
    if isinstance(error, JobError):
        return {"code": error.code, "message": error.message}
    return {"code": "internal.unexpected", "message": f"An unexpected {type(error).__name__}; the worker's log has it."}
