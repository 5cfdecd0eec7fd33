"""What the commands do that speak to a project as one of its users."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from worker.client import Rowcall
from worker.documents import ingest_paths
from worker.ingests import Ingested, Progress
from worker.terminal import PATIENCE_S, show_answer


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
    async with account.client() as rowcall:
        with progress_bar(Console(stderr=True, quiet=as_json)) as report:
            ingested = await ingest_paths(rowcall, paths, report)
    return show_ingested(ingested, as_json=as_json)


def show_ingested(ingested: Sequence[Ingested], *, as_json: bool) -> bool:
    """Whether all of them can be searched."""
    if as_json:
        json.dump([asdict(i) for i in ingested], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for document in ingested:
            Console().print(_line(document), highlight=False, soft_wrap=True)
    return all(i.status == "succeeded" for i in ingested)


class _Doubt(ProgressColumn):
    """What to look at where nothing is ingested for a while: without a worker nothing ever would be."""

    def render(self, task: Task) -> Text:
        is_long = not task.completed and (task.elapsed or 0.0) > PATIENCE_S
        return Text("does a worker run? `rowcall status` looks" if is_long else "", style="dim")


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Shown while the ingest in the block runs, in a terminal. Nothing of it stays; of one that is stopped, a word."""
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("ingested"), TimeRemainingColumn(), _Doubt())
    try:
        with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
            task = bars.add_task("ingest", total=None)
            yield lambda progress: bars.update(task, total=progress.found, completed=progress.ended)
    except asyncio.CancelledError:
        console.print("stopped: what is written is ingested all the same; the same command goes on with the rest")
        raise


def _line(document: Ingested) -> str:
    if document.problem:
        return f"[red]{document.status:9}[/red] {escape(document.source)}: {escape(document.problem)}"
    chunks = f"{document.chunks} chunk{'' if document.chunks == 1 else 's'}"
    status = "unchanged" if document.unchanged else document.status
    return f"[green]{status:9}[/green] {escape(document.source)} · {chunks}"
