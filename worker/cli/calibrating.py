"""The routing classifier, trained on the project's own answers."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.algebra import one_thread_of_algebra
from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import STATE, JsonOption, Origin, StateOption, require_folder
from worker.cli.projects import operator, worker_environment


def calibrate(
    answers: Annotated[
        Path | None,
        typer.Argument(metavar="ANSWERS", exists=True, dir_okay=False, help="what `rowcall eval --json` printed"),
    ] = None,
    *,
    origin: Annotated[
        Origin | None, typer.Option("--from", metavar="feedback", help="instead: answers that users have rated")
    ] = None,
    days: Annotated[int, typer.Option(min=1, metavar="DAYS", help="how far back ratings are taken")] = 90,
    route: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="only answers of these; may be repeated")
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0.5, max=1.5, metavar="SHARE", help="of the best route's quality, for the least cost")
    ] = 0.99,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="where the weights go, if the router pays")
    ] = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Trains the routing classifier on your own answers, and says whether it pays.

    It learns from questions that several routes have answered how well each
    answers which, and picks by quality less price. Every figure is of
    questions that it has not seen. Exit code 1: it is not better than a
    random mix of the routes that costs the same, or misses its target; then
    nothing is written.
    """
    one_thread_of_algebra()
    from worker.calibrating import CalibrationError, read_answers
    from worker.calibration_run import Wanted
    from worker.calibration_show import show_calibration
    from worker.settings import ConfigurationError, load

    if (answers is None) == (origin is None):
        fail("name a file of answers, or give --from feedback: one of the two", ExitCode.USAGE)
    require_folder(write, "--write")
    try:
        settings = load(worker_environment(state))
        source = read_answers(answers) if answers else None
    except ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)
    except CalibrationError as error:
        fail(str(error), ExitCode.USAGE)
    wanted = Wanted(source, days, tuple(route or ()), keep, write)
    act(show_calibration(wanted, operator(state), settings, as_json=as_json))
