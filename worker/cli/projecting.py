"""What one does once per project, or per job."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import fail
from worker.cli.options import JsonOption, project_dir

NEXT_STEPS = """
Next: fill in .env (Settings → API Keys of your project), then `rowcall doctor`.
For webhooks the vault needs intake's address, and the secret that .env holds:

  select vault.create_secret('https://<intake>/webhooks/supabase',
                             'rowcall_webhook_url');
  select vault.create_secret('<ROWCALL_WEBHOOK_SECRET>',
                             'rowcall_webhook_secret');
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", file_okay=False, help="where to write them")] = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """Writes rowcall.toml and .env, with a new webhook secret. What is there stays as it is."""
    from worker.scaffolding import NotWritten, initialise

    try:
        written = initialise(folder, project_dir())
    except NotWritten as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({w.path.name: "written" if w.is_new else "kept" for w in written}))
        return
    for file in written:
        typer.echo(f"{'wrote' if file.is_new else 'kept '} {file.path}")
    typer.echo(NEXT_STEPS)


def new_job(
    name: Annotated[str, typer.Argument(metavar="NAME", help="small letters, digits, underscores")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Writes a job that works, its prompt, its test and its migration."""
    from worker.scaffolding import NotWritten
    from worker.scaffolding import new_job as write_job

    project = project_dir()
    try:
        written = [str(path.relative_to(project)) for path in write_job(name, project, datetime.now(UTC))]
    except NotWritten as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"written": written}))
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"\nTry it: pytest tests/jobs/test_{name}.py; then restart `rowcall dev` and")
    typer.echo(f"rowcall ask --kind {name} --key text 'Some text'")
