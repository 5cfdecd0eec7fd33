"""How a calibration looks: a table for a terminal of 80 columns, or JSON, and what to do now."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from math import isnan
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from jobs.decisions.calibrating import Judgement, Policy
from jobs.decisions.statistics import Interval
from worker.calibrating import CalibrationError
from worker.calibration_run import Calibration, Wanted, calibrate
from worker.evaluation_report import percent, points
from worker.operating import Operator
from worker.settings import Settings

NAMES = {
    "router": "router",
    "random mix": "random mix, same cost",
    "best": "always the best",
    "cheapest": "always the cheapest",
}


async def show_calibration(wanted: Wanted, operator: Operator, settings: Settings, *, as_json: bool) -> bool:
    """Whether the router pays: False says not to turn it on."""
    try:
        made = await calibrate(wanted, operator, settings)
    except CalibrationError as error:
        shown = Console(stderr=True)
        shown.print(str(error), style="red", markup=False, highlight=False, soft_wrap=not shown.is_terminal)
        return False
    if as_json:
        sys.stdout.write(json.dumps(as_dict(made, wanted), indent=2, allow_nan=False) + "\n")
    else:
        Console().print(calibration_report(made, wanted), highlight=False)
    return made.judgement.pays


def calibration_report(made: Calibration, wanted: Wanted) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    table.add_column("policy")
    for name in ("quality", "kept %", "USD/1000", "saved %"):
        table.add_column(name, justify="right")
    for policy in made.judgement.policies:
        table.add_row(NAMES[policy.name], f"{100 * policy.quality:.1f} %", *_figures(policy))
    said = (escape(line) for line in (*notes(made), "", verdict(made.judgement), *_next(made, wanted)))
    return Group(table, "", *said)


def verdict(judgement: Judgement) -> str:
    """Whether to turn the router on, and why."""
    gain, kept = points(judgement.gain), percent(judgement.router.kept)
    if judgement.gain.low <= 0:
        return f"Not clearly better than a random mix of the same cost ({gain} points): do not turn it on."
    if judgement.router.kept.high < judgement.keep:
        return f"It keeps {kept} %, less than the {100 * judgement.keep:g} % wanted: do not turn it on."
    if not judgement.router.saved.low > 0:  # NaN where the best route is free
        return "It does not clearly cost less than the best route alone: do not turn it on."
    return f"Better than a random mix of the same cost ({gain} points)."


def notes(made: Calibration) -> Iterator[str]:
    """What a reader must know of the numbers."""
    measured = made.measured
    counts = ", ".join(f"{route} {count}" for route, count in measured.counts.items())
    yield f"{len(measured.questions)} questions of {made.source.name}; by route: {counts}."
    yield "Each is judged by a router that has seen nothing of it. In brackets: 95 %, paired bootstrap."
    yield "Shares are of always the best route; costs are of today's [prices], without prompt caches."
    if made.source.left_out:
        yield f"{made.source.left_out} answers are left out: they failed, or the cache gave them again."
    if measured.gaps:
        yield (
            f"{measured.gaps} questions lack a route's answer: what it would have been worth is estimated from "
            "others like them. Where a route was chosen, or a rating given, for reasons that the question does "
            "not show, the estimate is off; `rowcall eval` asks every route the same questions."
        )


def as_dict(made: Calibration, wanted: Wanted) -> dict[str, Any]:
    written = wanted.write is not None and made.judgement.pays
    return {
        "pays": made.judgement.pays,
        "verdict": verdict(made.judgement),
        "keep": made.judgement.keep,
        "price_weight": made.router.price_weight,
        "relative_prices": dict(zip(made.measured.routes, made.router.prices.tolist(), strict=True)),
        "questions": len(made.measured.questions),
        "questions_by_route": made.measured.counts,
        "left_out": made.source.left_out,
        "held_out": {
            policy.name: asdict(policy) | {"kept": _known(policy.kept), "saved": _known(policy.saved)}
            for policy in made.judgement.policies
        },
        "gain_over_random_mix": asdict(made.judgement.gain),
        "written": str(wanted.write) if written else None,
        "notes": list(notes(made)),
    }


def _known(interval: Interval) -> dict[str, float] | None:
    return None if isnan(interval.estimate) else asdict(interval)


def _figures(policy: Policy) -> tuple[str, ...]:
    is_reference = policy.name == "best"
    return (
        "100" if is_reference else percent(policy.kept),
        f"{1000 * policy.usd:.3g}",
        "0" if is_reference else percent(policy.saved),
    )


def _next(made: Calibration, wanted: Wanted) -> Iterator[str]:
    if not made.judgement.pays:
        if wanted.write is not None:
            yield f"{wanted.write} is not written."
        return
    if wanted.write is None:
        yield f"--write FILE keeps it; its price weight is {made.router.price_weight:.4g}."
        return
    routes = ", ".join(f'"{route}"' for route in made.measured.routes)
    yield f"Written to {wanted.write}. To turn it on, in rowcall.toml, without price_weight:"
    yield "[classifier]"
    yield f"routes = [{routes}]"
    yield f'weights = "{wanted.write}"'
