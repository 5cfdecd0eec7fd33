"""Prompt files."""

import json
from dataclasses import asdict

import typer

from worker.cli.ending import ExitCode
from worker.cli.options import JsonOption

prompts = typer.Typer(help="Prompt files of jobs.", no_args_is_help=True)


@prompts.callback()
def _group() -> None:
    """Keeps `check` a command of its own, while it is the only one."""


@prompts.command()
def check(*, as_json: JsonOption = False) -> None:
    """Shows each prompt's version and length, and what is wrong with it."""
    from worker.app import checked_prompts

    checked = checked_prompts()
    if as_json:
        typer.echo(json.dumps([asdict(prompt) for prompt in checked], indent=2))
    else:
        for prompt in checked:
            typer.echo(f"{prompt.name:12} {prompt.version or 'unreadable':12} {prompt.tokens:5,} tokens")
            for problem in prompt.problems:
                typer.secho(f"  {problem}", fg=typer.colors.RED)
    if any(prompt.problems for prompt in checked):
        raise typer.Exit(ExitCode.FAILED)
