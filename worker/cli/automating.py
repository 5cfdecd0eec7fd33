"""Columns that fill themselves."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import act, fail
from worker.cli.options import STATE, JsonOption, StateOption, project_dir
from worker.cli.projects import operator

automation = typer.Typer(no_args_is_help=True, help="Columns that fill themselves: add, list, test.")

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="posts, or schema.posts")]


class Lane(StrEnum):
    BULK = "bulk"
    INTERACTIVE = "interactive"


@automation.command()
def add(  # noqa: PLR0913 - each argument is one of the command line
    table: TableArgument,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="the column that is to be filled")],
    *,
    ask: Annotated[str, typer.Option(help="the text; {{column}} stands for the row's value")],
    kind: Annotated[str, typer.Option(help="the job: complete asks the model, answer asks the documents")] = "complete",
    on: Annotated[str, typer.Option(help="columns whose change asks again", show_default="those of --ask")] = "",
    when: Annotated[str, typer.Option(help="SQL condition, like new.body <> ''")] = "",
    owner: Annotated[str, typer.Option(help="column with the owner, for rows that a trusted writer inserts")] = "",
    lane: Annotated[Lane, typer.Option(help="interactive: somebody waits for it")] = Lane.BULK,
    name: Annotated[str, typer.Option(help="of the trigger", show_default="fill_COLUMN")] = "",
    migrations: Annotated[
        Path | None, typer.Option(help="folder to write to", show_default="supabase/migrations")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the migration that makes a trigger, which fills COLUMN when a row of TABLE appears or changes."""
    from worker.automations import Automation

    settings = [*([f"owner={owner}"] if owner else []), *([f"lane={lane.value}"] if lane is not Lane.BULK else [])]
    watched = tuple(part.strip() for part in on.split(",") if part.strip())
    made = Automation(*place(table), name or f"fill_{column}", column, ask, kind, watched, when or None, settings)
    folder = migrations or project_dir() / "supabase" / "migrations"
    if not folder.is_dir():
        fail(f"{folder} is no folder: --migrations names the one of your Supabase project")
    path = folder / made.file_name(datetime.now(UTC))
    path.write_text(made.statement, encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"written": str(path), "statement": made.statement}))
        return
    typer.echo(made.statement)
    typer.echo(f"written to {path}\nApply it: `rowcall migrate`, or `supabase db push` for a hosted project.")


@automation.command("list")
def list_(*, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """The automations of the project, and what is wrong with them."""
    from worker.automations import show_automations

    act(show_automations(operator(state), as_json=as_json))


@automation.command("test")
def try_(
    table: TableArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the trigger's name, as `list` shows it")],
    *,
    rows: Annotated[int, typer.Option(min=1, max=100, metavar="ROWS", help="of the table")] = 3,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Shows what would be asked for some rows of the table, and asks nothing."""
    from worker.automations import try_automation

    act(try_automation(operator(state), *place(table), name, rows, as_json=as_json))


def place(table: str) -> tuple[str, str]:
    """Schema and table."""
    schema, dot, name = table.rpartition(".")
    return (schema, name) if dot else ("public", table)
