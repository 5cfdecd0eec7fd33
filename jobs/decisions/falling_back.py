"""Which route is asked when one has failed.

A route has chains of other routes, one for each cause. What went wrong last says which of them goes on: a model that
cannot be reached is replaced by a cheaper or a foreign one, a prompt that is too long wants a longer context, a refusal
another opinion. An attempt asks no route twice, so it ends.

A limit of our own is no failure: its model works, and has no room for us just now. By default the row waits for it,
which costs nothing but time, where the next route might be a dearer one. Whoever would rather not wait names routes for
it. Of two gateways, Envoy tries nothing else after its own limiter unless told to (`retry_on: envoy-ratelimited`), and
LiteLLM falls back as after any other 429.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from jobs.errors import JobError, Retryable

Cause = Literal["error", "context_too_long", "refusal", "limit"]


@dataclass(frozen=True, slots=True)
class Chains:
    """Names of routes, or `cache`, in the order in which they are asked."""

    errors: tuple[str, ...] = ()  # timeouts included
    context_too_long: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()  # our own; a provider's (429) is an error
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
    if code == "model.limited":
        return "limit"
    return "error" if code.startswith("model.") else None


def next_routes(
    first: str, chains: Chains, failures: Sequence[Failure], *, without: Collection[str] = ()
) -> tuple[str, ...]:
    """Who may be asked next, best first; none: the chain has ended. `chains` are those of the route `first`; `without`:
    routes that are passed over for another reason than a failure.
    """
    failed = {failure.route for failure in failures}.union(without)
    causes = [cause_of(failure.code) for failure in failures]
    real = [cause for cause in causes if cause != "limit"]  # a limit met on the way does not end a chain
    cause = real[-1] if real else ("limit" if failures else "error")
    return tuple(dict.fromkeys(name for name in (first, *_chain(chains, cause)) if name not in failed))


def _chain(chains: Chains, cause: Cause | None) -> Iterable[str]:
    match cause:
        case "error":
            return chains.errors
        case "context_too_long":
            return chains.context_too_long
        case "refusal":
            return chains.refusals
        case "limit":
            return chains.limits
        case None:
            return ()


def telling_error(errors: Sequence[JobError]) -> JobError:
    """The one of several errors, in the order of their routes, that says what should happen next.

    If one is temporary another attempt may get an answer, no sooner than the least patient of them asks. Else the
    first route's counts: the row was meant for it.
    """
    temporary = [error for error in errors if isinstance(error, Retryable)]
    return min(temporary, key=lambda error: error.wait_s or 0.0) if temporary else errors[0]
