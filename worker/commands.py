"""What the commands do that speak to a project as one of its users."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.client import Rowcall
from worker.documents import Ingested, ingest_paths
from worker.terminal import show_answer


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a project."""

    url: str
    key: str
    email: str
    password: str
    sign_up: bool = False  # make the user where there is none

    def client(self) -> AbstractAsyncContextManager[Rowcall]:
        return Rowcall.signed_in(self.url, self.key, email=self.email, password=self.password, sign_up=self.sign_up)


async def ask(
    account: Account, input: Mapping[str, Any], kind: str, options: Mapping[str, Any], *, as_json: bool
) -> bool:
    """Whether it was answered. With as_json the stream is not shown, the whole is printed at the end."""
    console = Console(quiet=as_json)
    async with account.client() as rowcall:
        shown = await show_answer(rowcall, input, console, kind=kind, options=options)
    if as_json:
        json.dump(shown.as_json(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    return shown.succeeded


async def ingest_files(account: Account, paths: Sequence[Path], *, as_json: bool) -> bool:
    """Whether all of them can be searched now."""
    console = Console(quiet=as_json)
    async with account.client() as rowcall:
        with console.status("ingesting …"):
            ingested = await ingest_paths(rowcall, paths)
    if as_json:
        json.dump([asdict(i) for i in ingested], sys.stdout, indent=2)
        sys.stdout.write("\n")
    for document in ingested:
        console.print(_line(document), highlight=False)
    return all(i.status == "succeeded" for i in ingested)


def _line(document: Ingested) -> str:
    if document.problem:
        return f"[red]{document.status:9}[/red] {document.source}: {document.problem}"
    return f"[green]{document.status:9}[/green] {document.source} · {document.chunks} chunks"
