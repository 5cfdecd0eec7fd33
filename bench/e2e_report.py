"""What e2e.py promises and prints."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from measuring import Goal, percentile
from outcomes import Measured

LEAST_RATIO = 10.0
MOST_CALLS = 1.3


def judge(ours: Measured, stock: Measured, lost: int) -> list[Goal]:
    ratios = {share: ratio(ours, stock, share) for share in (0.5, 0.99)}
    calls = ours.batched_calls / max(1, ours.succeeded)
    torn = sum(bool(o.gaps) or not o.exact for o in ours.outcomes)
    return [
        *(
            Goal(f"first text >= {LEAST_RATIO:g} x sooner at p{100 * share:g}", f"{found:.1f} x", found >= LEAST_RATIO)
            for share, found in ratios.items()
        ),
        Goal(f"batched REST calls per answer <= {MOST_CALLS}", f"{calls:.2f}", calls <= MOST_CALLS),
        Goal("every row answered exactly once", f"{lost} lost of {len(ours.outcomes)}", lost == 0),
        Goal("no gap in any stream", f"{torn} of {len(ours.outcomes)} with one", torn == 0),
    ]


def ratio(ours: Measured, stock: Measured, share: float) -> float:
    """How many times longer the stock worker's clients wait for their first text."""
    return percentile(stock.times("first_ms"), share) / percentile(ours.times("first_ms"), share)


def summary(measured: Measured) -> dict[str, Any]:
    answers = max(1, measured.succeeded)
    errors = Counter(o.error for o in measured.outcomes if o.error)
    return {
        "rows": len(measured.outcomes),
        "succeeded": measured.succeeded,
        "took_s": round(measured.took_s, 1),
        **{
            name: {f"p{100 * share:g}": round(percentile(measured.times(name), share), 1) for share in (0.5, 0.99)}
            for name in ("accepted_ms", "first_ms", "finished_ms")
        },
        "gaps": sum(o.gaps for o in measured.outcomes),
        "healed": sum(o.healed for o in measured.outcomes),
        "inexact": sum(not o.exact for o in measured.outcomes),
        "rereads": sum(o.rereads for o in measured.outcomes),
        "batched_calls_per_answer": round(measured.batched_calls / answers, 2),
        "broadcasts_per_answer": round(measured.broadcasts / answers, 2),
        "requests": dict(sorted(measured.requests.items())),
        "processor_ms_per_answer": {n: round(1000 * s / answers, 1) for n, s in measured.processor_s.items()},
        "errors": dict(errors),
    }


def table(sides: Mapping[str, Mapping[str, Any]]) -> str:
    """A column for each summary."""
    times = (("accepted", "accepted_ms"), ("first text", "first_ms"), ("finished", "finished_ms"))
    counts = ("succeeded", "gaps", "healed", "inexact", "batched_calls_per_answer", "broadcasts_per_answer", "took_s")
    processes = list(next(iter(sides.values()))["processor_ms_per_answer"])
    lines = [
        _line("", sides),
        *(
            _line(f"{label}, p50 / p99 ms", (f"{s[key]['p50']:,.0f} / {s[key]['p99']:,.0f}" for s in sides.values()))
            for label, key in times
        ),
        *(_line(key.replace("_", " "), (f"{s[key]:,}" for s in sides.values())) for key in counts),
        *(
            _line(
                f"processor ms per answer: {name}", (f"{s['processor_ms_per_answer'][name]:,}" for s in sides.values())
            )
            for name in processes
        ),
        *(f"requests of {name}: {side['requests']}" for name, side in sides.items()),
        *(f"errors of {name}: {side['errors']}" for name, side in sides.items() if side["errors"]),
    ]
    return "\n".join(lines)


def _line(label: str, cells: Iterable[str]) -> str:
    return f"{label:34}" + "".join(f"{cell:>20}" for cell in cells)


def verdict(ours: Measured, stock: Measured, goals: Sequence[Goal]) -> str:
    first, other = ours.times("first_ms"), stock.times("first_ms")
    return (
        f"e2e {'passes' if all(goal.holds for goal in goals) else 'FAILS'}: first text after "
        f"{percentile(first, 0.5):,.0f} / {percentile(first, 0.99):,.0f} ms (p50 / p99), "
        f"stock arq {percentile(other, 0.5):,.0f} / {percentile(other, 0.99):,.0f} ms; "
        f"{ours.batched_calls / max(1, ours.succeeded):.2f} batched calls and "
        f"{1000 * ours.processor_s['worker'] / max(1, ours.succeeded):.0f} ms of the worker's processor per answer; "
        f"{ours.succeeded} of {len(ours.outcomes)} answered"
    )
