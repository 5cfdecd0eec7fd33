"""The circuit of a provider: closed while it works, open while it does not, and now and then a call to see.

The pattern: M. Nygard, "Release It!" (2007), chapter 5. Times are seconds of one clock, which the caller reads.
"""

from dataclasses import dataclass, replace
from typing import Literal

# What a provider that is down, or turns us away as a whole, answers. A limit (429) is one model's, and passes.
BROKEN = frozenset(
    {
        "model.timeout",
        "model.unavailable",
        "model.stream_cut",
        "model.unreadable",
        "model.unauthorized",
        "model.quota_exhausted",
    }
)

Verdict = Literal["works", "broken", "unknown"]


@dataclass(frozen=True, slots=True)
class Breaking:
    """When a circuit opens, and for how long."""

    failures: int = 5  # in a row, in the whole fleet
    within_s: float = 60.0  # failures further apart than this do not add up
    open_s: float = 10.0  # doubles with each probe that fails
    max_open_s: float = 120.0
    probe_s: float = 30.0  # a probe that has not ended by then is forgotten


@dataclass(frozen=True, slots=True)
class Circuit:
    """A provider's circuit; as made, closed."""

    failures: int = 0  # in a row
    failed_at_s: float = 0.0  # the last of them
    opened_at_s: float | None = None  # None: closed
    open_s: float = 0.0
    probed_at_s: float | None = None  # since when one call is under way to see

    def is_open(self) -> bool:
        return self.opened_at_s is not None


CLOSED = Circuit()


def verdict_on(code: str | None) -> Verdict:
    """What a call's end says of its provider; `code` None: an answer."""
    if code in BROKEN:
        return "broken"
    return "works" if code is None or code in {"model.refused", "model.context_too_long"} else "unknown"


def admit(circuit: Circuit, now_s: float, breaking: Breaking) -> tuple[bool, Circuit]:
    """Whether a call may be made, and the circuit with it under way. An open one lets a single call pass at a time."""
    if circuit.opened_at_s is None:
        return True, circuit
    is_resting = now_s < circuit.opened_at_s + circuit.open_s
    is_probed = circuit.probed_at_s is not None and now_s < circuit.probed_at_s + breaking.probe_s
    if is_resting or is_probed:
        return False, circuit
    return True, replace(circuit, probed_at_s=now_s)


def after(circuit: Circuit, verdict: Verdict, now_s: float, breaking: Breaking) -> Circuit:
    """The circuit when a call has ended."""
    if verdict == "works":
        return CLOSED
    if verdict == "unknown":  # where it was the probe, say one that our own limits held up, another may try at once
        return replace(circuit, probed_at_s=None)
    if circuit.opened_at_s is not None:
        if circuit.probed_at_s is None:  # a call from before it opened: no news
            return circuit
        longer_s = min(breaking.max_open_s, 2 * circuit.open_s)
        return replace(circuit, failed_at_s=now_s, opened_at_s=now_s, open_s=longer_s, probed_at_s=None)
    in_a_row = circuit.failures + 1 if now_s - circuit.failed_at_s <= breaking.within_s else 1
    if in_a_row < breaking.failures:
        return replace(circuit, failures=in_a_row, failed_at_s=now_s)
    return Circuit(in_a_row, now_s, opened_at_s=now_s, open_s=breaking.open_s)
