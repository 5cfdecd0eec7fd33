"""Answers to learn routing from: read from a file or from ratings, brought together by question and route."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.decisions.calibrating import Table
from jobs.decisions.pricing import Price, cost_usd
from jobs.questions import Question

Row = Mapping[str, Any]

LEAST_MEASURED = 100  # questions that a route must have answered
LEAST_RATED = 200  # the same, where a question has one route's answer


class CalibrationError(Exception):
    """Answers that cannot be learned from; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Graded:
    """An answer."""

    quality: float  # 0 to 1
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from, and what came of it. A question that was asked again counts once."""

    name: str
    least: int  # questions a route
    answers: Mapping[Question, Mapping[str, Sequence[Graded]]]  # by route
    left_out: int = 0  # answers that failed or were given again: they say nothing of a route


@dataclass(frozen=True, slots=True)
class Measured:
    """Questions, and what each route made of them; NaN where it was not asked."""

    routes: tuple[str, ...]
    questions: tuple[Question, ...]
    qualities: Table
    costs: Table  # US dollars, at today's prices

    @property
    def counts(self) -> dict[str, int]:
        """Questions with an answer of each route."""
        return dict(zip(self.routes, (int(n) for n in (~np.isnan(self.qualities)).sum(axis=0)), strict=True))

    @property
    def gaps(self) -> int:
        """Questions that some route has not answered."""
        return int(np.isnan(self.qualities).any(axis=1).sum())


@dataclass(slots=True)
class _Gathering:
    answers: dict[Question, dict[str, list[Graded]]] = field(default_factory=dict)

    def add(self, input: Row, route: str, graded: Graded, where: str) -> None:
        self.answers.setdefault(_question(input, where), {}).setdefault(route, []).append(graded)


def read_answers(path: Path) -> Source:
    """Of the file that `rowcall eval --json` printed, or of lines {"question", "answers": {route: {"quality",
    "tokens_in", "tokens_out"}}}. Raises CalibrationError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}") from error
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        report = None
    if isinstance(report, dict) and "variants" in report:
        return _of_evaluation(report, path)
    gathering = _Gathering()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            _add_line(gathering, line, f"{path}:{number}")
    return Source(path.name, LEAST_MEASURED, gathering.answers)


def rated(rows: Iterable[Row], days: int) -> Source:
    """Of rows of `rated_answers_v1`."""
    gathering = _Gathering()
    for row in rows:
        graded = Graded(row["quality"], row["tokens_in"], row["tokens_out"])
        gathering.add(row["input"], row["route"], graded, f"generation {row['id']}")
    return Source(f"ratings of {days} days", LEAST_RATED, gathering.answers)


def tabled(source: Source, routes: Sequence[str], prices: Mapping[str, Price | None]) -> Measured:
    """The answers of those routes, or of all in the source. `prices`: of every route there is, None where unknown.

    Raises CalibrationError where that is too little to learn from.
    """
    found = {route: None for by_route in source.answers.values() for route in by_route}
    chosen = tuple(route for route in prices if route in (routes or found))
    _check_routes(source, chosen, routes or tuple(found), prices)
    kept = {q: by_route for q, by_route in source.answers.items() if not by_route.keys().isdisjoint(chosen)}
    qualities, costs = (np.full((len(kept), len(chosen)), np.nan) for _ in range(2))
    for row, by_route in enumerate(kept.values()):
        for column, route in enumerate(chosen):
            if graded := by_route.get(route):
                qualities[row, column] = np.mean([answer.quality for answer in graded])
                costs[row, column] = np.mean([_cost(prices[route], answer) for answer in graded])
    measured = Measured(chosen, tuple(kept), qualities, costs)
    if min(measured.counts.values()) < source.least:
        counts = ", ".join(f"{route} {count}" for route, count in measured.counts.items())
        raise CalibrationError(
            f"{source.name}: different questions by route: {counts}. At least {source.least} of each are wanted to "
            "learn from; --route leaves others out"
        )
    if np.ptp(np.nanmean(costs, axis=0)) == 0:
        raise CalibrationError(f"{', '.join(chosen)} cost the same: there is nothing to choose between")
    return measured


def _check_routes(
    source: Source, chosen: Sequence[str], wanted: Sequence[str], prices: Mapping[str, Price | None]
) -> None:
    if unknown := [route for route in wanted if route not in prices]:
        raise CalibrationError(
            f"{source.name}: {', '.join(unknown)} is no name of [routes] ({', '.join(prices)}); --route names those to "
            "learn from"
        )
    if not chosen:
        raise CalibrationError(f"{source.name}: there is no answer to learn from")
    if len(chosen) < 2:
        raise CalibrationError(f"{source.name}: only {chosen[0]} has answered, so there is nothing to choose between")
    if unpriced := [route for route in chosen if prices[route] is None]:
        raise CalibrationError(f"[prices] has none of the model of route {', '.join(unpriced)}")


def _cost(price: Price | None, answer: Graded) -> float:
    """As if no prompt had been cached: a cache serves whoever asks again, whatever the route."""
    cost = cost_usd(price, tokens_in=answer.tokens_in, tokens_cached=0, tokens_out=answer.tokens_out)
    return float("nan") if cost is None else cost


def _of_evaluation(report: Row, path: Path) -> Source:
    gathering, left_out = _Gathering(), 0
    try:
        for answers in report["questions"].values():
            for input, answer in zip(report["inputs"], answers, strict=True):
                if answer["status"] != "succeeded" or answer["reused"] or answer["route"] is None:
                    left_out += 1
                    continue
                graded = Graded(answer["quality"], answer["tokens_in"], answer["tokens_out"])
                gathering.add(input, answer["route"], graded, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{path} is not what `rowcall eval --json` prints: {error!r}") from error
    return Source(path.name, LEAST_MEASURED, gathering.answers, left_out)


def _add_line(gathering: _Gathering, line: str, where: str) -> None:
    try:
        row = json.loads(line)
        for route, answer in row["answers"].items():
            graded = Graded(float(answer["quality"]), int(answer["tokens_in"]), int(answer["tokens_out"]))
            if not 0 <= graded.quality <= 1:
                raise CalibrationError(f"{where}: quality must be from 0 to 1 (it is {graded.quality:g})")
            gathering.add(row, route, graded, where)
    except json.JSONDecodeError as error:
        raise CalibrationError(f"{where} is no JSON: {error.msg}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(
            f'{where} is no {{"question", "answers": {{route: {{"quality", "tokens_in", "tokens_out"}}}}}}, '
            "nor is the file what `rowcall eval --json` prints"
        ) from error


def _question(input: Row, where: str) -> Question:
    try:
        return Question.read(input)
    except (KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(f"{where} has no question: routing learns from those of the job answer") from error
