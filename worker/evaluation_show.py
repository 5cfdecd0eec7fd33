"""`rowcall eval`: runs the variants, prints what came of them, draws the picture."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.commands import Account
from worker.evaluating import Measured, as_json, caveats, summarised
from worker.evaluation_plan import EvaluationError, Plan, rated_items
from worker.evaluation_report import evaluation_report, pareto_svg
from worker.evaluation_run import run_variants
from worker.judging import judge_answers, judge_notes, require_questions, with_grades
from worker.settings import load

COLUMNS = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())


async def show_evaluation(
    plan: Plan,
    account: Account,
    environ: Mapping[str, str],
    *,
    rated_days: int | None,
    svg: Path | None,
    machine_readable: bool,
) -> bool:
    """Whether every variant answered something. `rated_days`: the user's own rated questions, not the plan's."""
    shown = Console(stderr=True, quiet=machine_readable)
    judged: list[str] = []
    try:
        async with account.client() as rowcall:
            if rated_days is not None:
                rated = await rowcall.rated_well(plan.kind, days=rated_days)
                plan = replace(plan, items=rated_items(rated, days=rated_days))
            if plan.is_judged:
                require_questions(plan)
            with (
                _warnings_only(),
                Progress(*COLUMNS, console=shown, transient=True, disable=not shown.is_terminal) as bars,
            ):
                tasks = {v.name: bars.add_task(v.name, total=len(plan.items)) for v in plan.variants}
                results = await run_variants(plan, environ, rowcall, lambda name: bars.advance(tasks[name]))
                if plan.is_judged:
                    task = bars.add_task("judge", total=len(plan.items) * len(plan.variants))
                    grades = await judge_answers(plan, results, environ, rowcall, lambda: bars.advance(task))
                    asked = len(plan.items)
                    plan, results = with_grades(plan, results, grades)
                    judged = judge_notes(asked, len(plan.items), grades)
    except EvaluationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return False
    notes = [*caveats(len(plan.items), as_if=load(environ).is_local), *judged]
    return _show(plan, results, notes, svg=svg, machine_readable=machine_readable)


@contextmanager
def _warnings_only() -> Iterator[None]:
    """In the block the machine logs no line for each answer: the table says what came of them. Warnings go to standard
    error, since the report may be read by a program.
    """
    before = structlog.get_config()
    warnings = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=warnings, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def _show(
    plan: Plan,
    results: Mapping[str, Sequence[Measured]],
    notes: Sequence[str],
    *,
    svg: Path | None,
    machine_readable: bool,
) -> bool:
    summaries = summarised(results, plan.baseline)
    if machine_readable:
        print(as_json(summaries, results, plan.items, notes))  # noqa: T201
    else:
        Console().print(evaluation_report(summaries, plan.baseline, notes), highlight=False)
    is_drawn = svg is None or _drawn(pareto_svg(summaries), svg)
    return is_drawn and all(summary.answered for summary in summaries)


def _drawn(picture: str, path: Path) -> bool:
    """False: the file cannot be written, which costs nobody the figures."""
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        Console(stderr=True).print(f"{path} cannot be written: {error.strerror}", style="red", markup=False)
        return False
    return True
