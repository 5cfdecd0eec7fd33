"""Variants of the configuration, measured on a set of questions by the worker's own path: what each answer is worth,
and each variant beside the baseline.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np

from jobs.decisions.pricing import Price, cost_usd
from jobs.decisions.scoring import cites, contains, token_f1
from jobs.decisions.statistics import ILLUSTRATION, Interval, Values, difference, paired, saving
from worker.evaluation_plan import Item, Row
from worker.ports import Closing


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one question in one variant. Unknown numbers are None."""

    status: str
    f1: float | None
    contained: bool | None
    cited: bool | None
    cost_usd: float | None
    tokens_in: int
    tokens_out: int
    first_ms: float | None
    finished_ms: float | None
    route: str | None
    reused: bool
    answer: str | None = None
    grade: float | None = None  # 0 to 1, by a judge

    @property
    def quality(self) -> float:
        """0 to 1: a judge's grade, where there is one; else whether a right source is cited, where the set names
        sources; else overlap with the reference.
        """
        if self.grade is not None:
            return self.grade
        return float(self.cited) if self.cited is not None else self.f1 or 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A variant beside the baseline. The baseline's differences are zero."""

    variant: str
    questions: int
    answered: int
    reused: int
    quality: float
    quality_gain: Interval
    cost_usd: float | None  # of all questions; None where a price is unknown
    saved_share: Interval | None  # None also where the baseline cost nothing
    tokens_in: float  # a question
    tokens_out: float
    first_ms: float | None  # median
    finished_ms: float | None
    routes: Mapping[str, int]


def measured(row: Row, item: Item, as_if: Mapping[str, Price] | None, calls: Sequence[Closing] = ()) -> Measured:
    """What an ended row is worth. `as_if`: prices by route where the models that answered have none of their own;
    `calls`: what it took, where that is known, since a cascade asks two routes.
    """
    answer, citations = row["answer"] or "", row["citations"] or ()
    answered = row["status"] == "succeeded"
    usd = usd_of(row)
    reused = _was_cached(row)
    if as_if is not None:
        usd = 0.0 if reused else _cost(row, as_if, calls)
    return Measured(
        status=row["status"],
        f1=(token_f1(answer, item.answers) if answered else 0.0) if item.answers else None,
        contained=(answered and contains(answer, item.answers)) if item.answers else None,
        cited=(answered and cites((c["source"] for c in citations), item.sources)) if item.sources else None,
        cost_usd=usd,
        tokens_in=row["tokens_in"] or 0,
        tokens_out=row["tokens_out"] or 0,
        first_ms=_ms(row["started_at"], row["first_token_at"]),
        finished_ms=_ms(row["started_at"], row["finished_at"]),
        route=row["route"],
        reused=reused,
        answer=row["answer"],
    )


def usd_of(row: Row) -> float | None:
    """@supabase/lite answers a cost of more digits than a double has as text."""
    return None if row["cost_usd"] is None else float(row["cost_usd"])


def summarised(results: Mapping[str, Sequence[Measured]], baseline: str) -> tuple[Summary, ...]:
    """A summary for each variant, in order. Every variant has answered the same questions, in the same order."""
    base = results[baseline]
    return tuple(_summary(name, found, base) for name, found in results.items())


def caveats(questions: int, *, as_if: bool) -> list[str]:
    """What a reader must know of the numbers."""
    lines = []
    if questions < ILLUSTRATION:
        lines.append(f"fewer than {ILLUSTRATION} questions are an illustration: see how wide the intervals are")
    if as_if:
        lines.append("the local model answered, which quotes; costs are its tokens at the prices in rowcall.toml")
    return lines


def as_json(
    summaries: Sequence[Summary],
    results: Mapping[str, Sequence[Measured]],
    items: Sequence[Item],
    notes: Sequence[str],
) -> str:
    """`inputs` and each variant's `questions` are in the same order."""
    rows = {name: [asdict(m) | {"quality": m.quality} for m in found] for name, found in results.items()}
    variants, inputs = [asdict(s) for s in summaries], [item.input for item in items]
    report = {"variants": variants, "inputs": inputs, "questions": rows, "notes": list(notes)}
    return json.dumps(report, indent=2, allow_nan=False)


def _summary(name: str, found: Sequence[Measured], base: Sequence[Measured]) -> Summary:
    def values(of: Sequence[Measured], what: Callable[[Measured], float | None]) -> Values:
        return np.array([np.nan if (value := what(m)) is None else value for m in of], np.float64)

    cost, base_cost = values(found, lambda m: m.cost_usd), values(base, lambda m: m.cost_usd)
    known = not np.isnan(cost).any()
    comparable = known and base_cost.sum() > 0  # not where a cost of the baseline is unknown, or all of it was free
    quality = values(found, lambda m: m.quality)
    routes = [m.route for m in found if m.route is not None]
    return Summary(
        variant=name,
        questions=len(found),
        answered=sum(m.status == "succeeded" for m in found),
        reused=sum(m.reused for m in found),
        quality=float(quality.mean()),
        quality_gain=paired(quality, values(base, lambda m: m.quality), difference),
        cost_usd=float(cost.sum()) if known else None,
        saved_share=paired(cost, base_cost, saving) if comparable else None,
        tokens_in=float(np.mean([m.tokens_in for m in found])),
        tokens_out=float(np.mean([m.tokens_out for m in found])),
        first_ms=_median([m.first_ms for m in found]),
        finished_ms=_median([m.finished_ms for m in found]),
        routes={route: routes.count(route) for route in dict.fromkeys(routes)},
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _was_cached(row: Row) -> bool:
    output: Row = row["output"] or {}
    return any(str(warning).startswith("answer.cached") for warning in output.get("warnings", ()))


def _cost(row: Row, prices: Mapping[str, Price], calls: Sequence[Closing]) -> float | None:
    """As if no prompt had been cached: the local model plays one cache for all routes, which no provider has. A call
    without a route, an embedding, is counted as if the row's route had made it.
    """
    used = [(c.route, c.tokens_in, c.tokens_out) for c in calls] or [(None, row["tokens_in"], row["tokens_out"])]
    costs = [
        cost_usd(prices.get(route or row["route"] or ""), tokens_in=sent or 0, tokens_cached=0, tokens_out=written or 0)
        for route, sent, written in used
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _ms(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return 1000 * (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
