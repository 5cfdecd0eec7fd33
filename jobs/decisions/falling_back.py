"""Which route is asked when one has failed.

A route has three chains of other routes, one for each cause. What went wrong last says which of them goes on: a model
that cannot be reached is replaced by a cheaper or a foreign one, a prompt that is too long wants a longer context, a
refusal another opinion. An attempt asks no route twice, so it ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from jobs.errors import JobError, Retryable

Cause = Literal["error", "context_too_long", "refusal"]


@dataclass(frozen=True, slots=True)
class Chains:
    """Names of routes, or `cache`, in the order in which they are asked."""

    errors: tuple[str, ...] = ()  # timeouts included
    context_too_long: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    deadline_s: float = inf  # for all of them together; a cached answer takes no time


CACHE = "cache"  # stands in a chain for the answer to the same question, or to one like it, that was given before
NO_CHAINS = Chains()


@dataclass(frozen=True, slots=True)
class Failure:
    """A route that was asked, and the code of what went wrong."""

    route: str
    code: str


def cause_of(code: str) -> Cause | None:
    """None: not the model's doing, so another model would not help."""
    if code == "model.context_too_long":
        return "context_too_long"
    if code == "model.refused":
        return "refusal"
    return "error" if code.startswith("model.") else None


def next_routes(first: str, chains: Chains, failures: Sequence[Failure]) -> tuple[str, ...]:
    """Who may be asked next, best first; none: the chain has ended. `chains` are those of the route `first`."""
    failed = {failure.route for failure in failures}
    cause = cause_of(failures[-1].code) if failures else "error"
    return tuple(dict.fromkeys(name for name in (first, *_chain(chains, cause)) if name not in failed))


def _chain(chains: Chains, cause: Cause | None) -> Iterable[str]:
    match cause:
        case "error":
            return chains.errors
        case "context_too_long":
            return chains.context_too_long
        case "refusal":
            return chains.refusals
        case None:
            return ()


def telling_error(errors: Sequence[JobError]) -> JobError:
    """The one of several errors, in the order of their routes, that says what should happen next.

    If one is temporary another attempt may get an answer, no sooner than the least patient of them asks. Else the
    first route's counts: the row was meant for it.
    """
    temporary = [error for error in errors if isinstance(error, Retryable)]
    return min(temporary, key=lambda error: error.wait_s or 0.0) if temporary else errors[0]
