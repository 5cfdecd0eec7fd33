"""Variants of the configuration, measured on a set of questions by the worker's own path."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs.decisions.pricing import Price, cost_usd
from jobs.decisions.scoring import cites, contains, token_f1
from jobs.decisions.statistics import ILLUSTRATION, Interval, Values, difference, paired, saving
from worker.ports import Closing

Row = Mapping[str, Any]
_COMMA = re.compile(r",(?![^\[]*\])")  # not in a list
QUALITY = "quality"  # in a variant: the row's options.quality
QUALITIES = ("auto", "fast", "best")
ROUTE = "route"  # in a variant: takes every row, whatever the rules say; everything else is a key of rowcall.toml


class EvaluationError(Exception):
    """A question set or a variant that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question, and what its answer is judged by: reference answers, sources to cite, or both."""

    input: Row
    answers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration to measure."""

    name: str
    overrides: Row = field(default_factory=dict)  # of rowcall.toml, nested
    options: Row = field(default_factory=dict)  # of each row
    route: str | None = None  # of every row; None: as the configuration routes it


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    variants: tuple[Variant, ...]
    items: tuple[Item, ...]
    baseline: str  # a variant's name
    kind: str = "answer"
    at_once: int = 4  # questions under way
    is_judged: bool = False  # by a model


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


def read_items(path: Path, *, is_judged: bool = False) -> tuple[Item, ...]:
    """The questions of a JSONL file: {"question" or "input", "answer" or "answers", "source" or "sources"} a line; a
    judge does without the latter two.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error
    items = tuple(_item(line, f"{path}:{n}", is_judged=is_judged) for n, line in enumerate(lines, 1) if line.strip())
    if not items:
        raise EvaluationError(f"{path} holds no question")
    return items


def rated_items(rows: Sequence[Row], *, days: int) -> tuple[Item, ...]:
    """Questions of rows whose answers were rated well, with those as references; of equal questions the first."""
    first: dict[str, Item] = {}
    for row in rows:
        first.setdefault(json.dumps(row["input"], sort_keys=True), Item(row["input"], (row["answer"],)))
    if not first:
        raise EvaluationError(
            f"you have rated no answer well in the last {days} days: there is nothing to compare with"
        )
    return tuple(first.values())


def read_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """Raises EvaluationError also where two have the same name: results are kept by it."""
    variants = tuple(read_variant(text) for text in texts)
    names = [variant.name for variant in variants]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise EvaluationError(f"--variant: {twice[0]} is there twice; give each a name of its own")
    return variants


def baseline_of(variants: Sequence[Variant], name: str) -> str:
    """The name of the variant that the others are compared with; empty: the first one's."""
    names = [variant.name for variant in variants]
    if name and name not in names:
        raise EvaluationError(f"--baseline: {name} is no variant; they are {', '.join(names)}")
    return name or names[0]


def read_variant(text: str) -> Variant:
    """`name` or `name:key=value,key=value`; keys as in rowcall.toml with dots, quality or route; values as TOML or
    bare.
    """
    name, _, given = text.partition(":")
    if not name.strip():
        raise EvaluationError(f"a variant needs a name: {text!r}; write name:key=value,key=value")
    overrides: dict[str, Any] = {}
    options: dict[str, Any] = {}
    route: str | None = None
    for pair in filter(None, (pair.strip() for pair in _COMMA.split(given))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise EvaluationError(f"variant {name}: {pair!r} is not key=value")
        if key == QUALITY:
            if value not in QUALITIES:
                raise EvaluationError(
                    f"variant {name}: quality must be one of {', '.join(QUALITIES)} (it is {value!r})"
                )
            options[QUALITY] = value
        elif key == ROUTE:
            route = value
        else:
            _put(overrides, key.split("."), _toml(value), f"variant {name}: {key}")
    return Variant(name.strip(), overrides, options, route)


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


def _item(line: str, where: str, *, is_judged: bool) -> Item:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{where} is no JSON: {error.msg}") from error
    if not isinstance(row, dict):
        raise EvaluationError(f"{where} is no JSON object")
    item = Item(_input(row, where), _texts(row, "answer", where), _texts(row, "source", where))
    if not is_judged and not item.answers and not item.sources:
        raise EvaluationError(f"{where} has neither answers nor sources to judge an answer by; --judge wants none")
    return item


def _input(row: Row, where: str) -> Row:
    if "input" in row:
        if not isinstance(row["input"], dict) or not row["input"]:
            raise EvaluationError(f"{where}: input must be an object that is not empty (it is {row['input']!r})")
        return row["input"]
    if "question" not in row:
        raise EvaluationError(f"{where} has neither a question nor an input")
    if not isinstance(row["question"], str) or not row["question"].strip():
        raise EvaluationError(f"{where}: question must be a text that is not empty (it is {row['question']!r})")
    return {"question": row["question"]}


def _texts(row: Row, name: str, where: str) -> tuple[str, ...]:
    given = row.get(f"{name}s", [row[name]] if name in row else [])
    if not isinstance(given, list) or not all(isinstance(text, str) and text for text in given):
        raise EvaluationError(f"{where}: {name}s must be a list of texts, {name} a text")
    return tuple(given)


def _put(tree: dict[str, Any], path: Sequence[str], value: Any, where: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise EvaluationError(f"{where} names a value inside a value")
    tree[path[-1]] = value


def _toml(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value  # a bare word


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
