"""What an operator does, with the secret key."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import FLAG, STATE, JsonOption, StateOption, project_dir
from worker.cli.projects import OPERATOR, chosen_project, embedding_model, operator, require_project

IdsArgument = Annotated[list[UUID], typer.Argument(metavar="ID", help="generations")]


class Dimension(StrEnum):
    DAY = "day"
    TENANT = "tenant"
    KIND = "kind"
    PURPOSE = "purpose"
    ROUTE = "route"
    REASON = "reason"
    PROMPT = "prompt"
    MODEL = "model"


def doctor(*, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """Looks at a hosted or embedded project for what goes wrong in practice, and says the cure."""
    from worker.doctor.examination import examine
    from worker.operating import show_findings

    chosen = chosen_project(state)
    require_project(chosen, OPERATOR, state)
    project = f"{chosen.environ.get('SUPABASE_URL', 'no address')} · {chosen.origin}"
    findings = examine(chosen.environ, project_dir() / "supabase" / "migrations")
    act(show_findings(findings, project, as_json=as_json))


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", metavar=FLAG, help="look again and again, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="between two looks of --watch")] = 2.0,
    hours: Annotated[float, typer.Option(min=0.01, metavar="HOURS", help="how far back endings are counted")] = 1.0,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """What is queued, who works, how rows ended, what was spent today."""
    from worker.operating import Look, show_status, watch_status

    look = Look(hours * 3600, embedding_model(state))
    if watch:
        act(watch_status(operator(state), look, every, as_json=as_json))
    act(show_status(operator(state), look, as_json=as_json))


def usage(
    *,
    days: Annotated[int, typer.Option(min=1, metavar="DAYS", help="today and the days before it, UTC")] = 7,
    by: Annotated[
        list[Dimension] | None,
        typer.Option(
            metavar="WHAT",
            show_default="day, model",
            help="keep apart: day, tenant, kind, purpose, route, reason, prompt or model; may be given again",
        ),
    ] = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """The ledger of every model call: tokens and cost by day, tenant, kind, purpose, route or model.

    By reason and by prompt tells, for answers, why their route was taken and
    by which version of the prompt they were made.
    """
    from worker.operating import Usage, show_usage

    chosen = tuple(dimension.value for dimension in dict.fromkeys(by or (Dimension.DAY, Dimension.MODEL)))
    act(show_usage(operator(state), Usage(days, chosen), as_json=as_json))


def dead(
    *,
    code: Annotated[str | None, typer.Option(help="only those of this error code")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="ROWS", help="rows shown, the latest first")] = 20,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Rows that failed for good, were refused, or whose answer its column refused; and why."""
    from worker.operating import show_dead

    act(show_dead(operator(state), code=code, max_rows=limit, as_json=as_json))


def replay(
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="generations")] = None,
    *,
    code: Annotated[str | None, typer.Option(help="all that `rowcall dead` lists with this error code")] = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Runs rows again that failed, were refused, wait for review or were canceled, with all their tries.

    Where a column has refused an answer (target.failed) it is filled from the
    answer that was kept; no model is called.
    """
    from worker.operating import replay as replay_rows

    if bool(ids) == bool(code):
        fail("name the rows to replay: either ID…, or --code CODE (`rowcall dead` lists both)", ExitCode.USAGE)
    act(replay_rows(operator(state), [str(id) for id in ids or ()], code=code, as_json=as_json))


def cancel(ids: IdsArgument, *, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """Ends rows that are queued or running. The text that they had so far stays as their answer."""
    from worker.operating import cancel as cancel_rows

    act(cancel_rows(operator(state), [str(id) for id in ids], as_json=as_json))


def prune(*, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """Deletes what is older than the table rowcall.retention keeps: ended rows, ledger, expired cached answers."""
    from worker.operating import prune as prune_rows

    act(prune_rows(operator(state), as_json=as_json))
