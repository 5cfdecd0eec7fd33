"""Variants of the configuration, measured."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import FLAG, STATE, JsonOption, Origin, StateOption
from worker.cli.projects import account, chosen_project


def evaluate(  # noqa: PLR0913 - each argument is one of the command line
    questions: Annotated[
        Path | None,
        typer.Argument(metavar="JSONL", exists=True, dir_okay=False, help="a question a line, with its answer"),
    ] = None,
    *,
    origin: Annotated[
        Origin | None,
        typer.Option("--from", metavar="feedback", help="instead: your own questions whose answers you rated well"),
    ] = None,
    days: Annotated[int, typer.Option(min=1, metavar="DAYS", help="how far back ratings are taken")] = 90,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:KEY=VALUE,…", help="changes to rowcall.toml, quality=best, or route=NAME; may be repeated"
        ),
    ] = None,
    baseline: Annotated[str, typer.Option(help="the variant that the others are compared with")] = "",
    is_judged: Annotated[
        bool, typer.Option("--judge", metavar=FLAG, help="quality is a grade that the best route gives each answer")
    ] = False,
    kind: Annotated[str, typer.Option(help="the job")] = "answer",
    at_once: Annotated[int, typer.Option(min=1, max=100, help="questions under way at the same time")] = 4,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="where to draw quality by cost")
    ] = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Answers a set of questions by several configurations: quality, cost, time.

    Each line of the file is {"question": …, "answer": …} or {"question": …,
    "source": …}, or lists of "answers" and "sources". Without --variant,
    rowcall.toml as it is stands beside always asking the best route. The
    questions become rows of the user who asks, and cost what they cost.
    """
    from worker.evaluating import EvaluationError, Plan, read_items, read_variant
    from worker.evaluation_run import configured
    from worker.evaluation_show import show_evaluation
    from worker.settings import ConfigurationError

    if (questions is None) == (origin is None):
        fail("name a file of questions, or give --from feedback", ExitCode.USAGE)
    try:
        items = read_items(questions, is_judged=is_judged) if questions else ()
        variants = [read_variant(text) for text in variant or ("best:quality=best", "as-configured")]
        environ = chosen_project(state).environ
        for each in variants:
            configured(environ, each)
    except EvaluationError as error:
        fail(str(error), ExitCode.USAGE)
    except ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)
    names = [each.name for each in variants]
    if len(set(names)) < len(names) or (baseline and baseline not in names):
        fail(f"variants need names of their own, and --baseline one of them: {', '.join(names)}", ExitCode.USAGE)
    plan = Plan(tuple(variants), items, baseline or names[0], kind, at_once, is_judged)
    rated_days = days if origin else None
    act(show_evaluation(plan, account(state), environ, rated_days=rated_days, svg=svg, machine_readable=as_json))
