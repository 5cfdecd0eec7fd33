"""Variants of the configuration, measured."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import FLAG, STATE, JsonOption, Origin, StateOption, require_folder
from worker.cli.projects import account, worker_environment

AS_IT_IS = ("best:quality=best", "as-configured")  # the variants where none are given

Questions = Annotated[
    Path | None,
    typer.Argument(metavar="QUESTIONS", exists=True, dir_okay=False, help="JSONL: a question a line, with its answer"),
]
From = Annotated[
    Origin | None,
    typer.Option("--from", metavar="feedback", help="instead: your own questions whose answers you rated well"),
]
Days = Annotated[int, typer.Option(min=1, metavar="DAYS", help="how far back ratings are taken")]
Variants = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:KEY=VALUE,…", help="changes to rowcall.toml, quality=best, or route=NAME; may be repeated"
    ),
]
Baseline = Annotated[
    str, typer.Option(metavar="NAME", show_default="the first", help="the variant that the others are compared with")
]
Judge = Annotated[
    bool,
    typer.Option(
        "--judge",
        metavar=FLAG,
        help="quality is a grade that the best route gives each answer; questions need no answer or source then",
    ),
]
Kind = Annotated[str, typer.Option(metavar="JOB", help="the job that answers")]
AtOnce = Annotated[int, typer.Option(min=1, max=100, metavar="COUNT", help="questions under way at the same time")]
Picture = Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="where to draw quality by cost")]


def evaluate(  # noqa: PLR0913 - each argument is one of the command line
    questions: Questions = None,
    *,
    origin: From = None,
    days: Days = 90,
    variant: Variants = None,
    baseline: Baseline = "",
    is_judged: Judge = False,
    kind: Kind = "answer",
    at_once: AtOnce = 4,
    svg: Picture = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Answers a set of questions by several configurations: quality, cost, time.

    Each line of the file is {"question": …, "answer": …} or {"question": …,
    "source": …}, or lists of "answers" and "sources"; with --judge the
    question alone will do. Without --variant, rowcall.toml as it is stands
    beside always asking the best route. The questions become rows of the user
    who asks, and cost what they cost.
    """
    from worker.evaluation_plan import EvaluationError, Plan, baseline_of, read_items, read_variants
    from worker.evaluation_run import require_configured
    from worker.evaluation_show import show_evaluation
    from worker.settings import ConfigurationError

    if (questions is None) == (origin is None):
        fail("name a file of questions, or give --from feedback: one of the two", ExitCode.USAGE)
    require_folder(svg, "--svg")
    environ = worker_environment(state)
    try:
        items = read_items(questions, is_judged=is_judged) if questions else ()
        variants = read_variants(variant or AS_IT_IS)
        plan = Plan(variants, items, baseline_of(variants, baseline), kind, at_once, is_judged)
        require_configured(environ, variants)
    except EvaluationError as error:
        fail(str(error), ExitCode.USAGE)
    except ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)
    rated_days = days if origin else None
    act(show_evaluation(plan, account(state), environ, rated_days=rated_days, svg=svg, machine_readable=as_json))
