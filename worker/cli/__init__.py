"""`rowcall …`: each command calls one function.

A module a subject, and the table of all commands here. A command imports what it needs inside its body, so that
`rowcall --help` stays quick.
"""

from collections.abc import Callable, Mapping

import typer

from worker.cli import asking, embedded, operating, projecting, services
from worker.cli.automating import automation

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
    ),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(automation, name="automation", rich_help_panel="Develop")


def main() -> None:
    app()
