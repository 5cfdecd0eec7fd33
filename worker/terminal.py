"""How an answer looks in a terminal while it arrives."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from worker.client import Rowcall, Update

PATIENCE_S = 5.0


@dataclass(slots=True)
class Times:
    """Seconds since the insert was sent, by the client's clock; None: not seen."""

    accepted: float | None = None
    started: float | None = None
    first_delta: float | None = None
    finished: float | None = None
    began: float = field(default_factory=time.monotonic)

    def since(self) -> float:
        return time.monotonic() - self.began

    def note(self, update: Update) -> None:
        now = self.since()
        if self.started is None and update.status != "queued":
            self.started = now
        if self.first_delta is None and update.text:
            self.first_delta = now
        if update.is_finished:
            self.finished = now

    def as_json(self) -> dict[str, float | None]:
        """Milliseconds."""
        names = ("accepted", "started", "first_delta", "finished")
        return {f"{n}_ms": None if (s := getattr(self, n)) is None else round(1000 * s, 1) for n in names}


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer that was shown to its end."""

    id: str
    row: Mapping[str, Any]
    times: Times

    @property
    def succeeded(self) -> bool:
        return bool(self.row["status"] == "succeeded")

    @property
    def warnings(self) -> Sequence[str]:
        """What the asker should know: another route answered, some documents cannot be found."""
        output: Mapping[str, Any] = self.row["output"] or {}
        return tuple(output.get("warnings", ()))

    @property
    def citations(self) -> Sequence[Mapping[str, Any]]:
        return self.row["citations"] or ()

    def as_json(self) -> dict[str, Any]:
        kept = ("status", "answer", "output", "citations", "error", "route", "tokens_in", "tokens_out", "cost_usd")
        return {"id": self.id, **{k: self.row[k] for k in kept}, "times": self.times.as_json()}


async def show_answer(
    rowcall: Rowcall,
    input: Mapping[str, Any],
    console: Console,
    *,
    kind: str = "answer",
    options: Mapping[str, Any] | None = None,
) -> Shown:
    """Inserts the row and prints the answer as it streams, its citations, and the times."""
    times = Times()
    id = await rowcall.submit(input, kind=kind, options=options)
    times.accepted = times.since()
    async with _saying_that_it_waits(times, console):
        row = await _stream(rowcall.watch(id), times, console)
    shown = Shown(id, row, times)
    _print_ending(shown, console)
    return shown


@asynccontextmanager
async def _saying_that_it_waits(times: Times, console: Console) -> AsyncIterator[None]:
    """Once, where nobody has begun the row by then: without a worker nothing else would ever be shown."""

    async def say() -> None:
        await asyncio.sleep(PATIENCE_S)
        if times.started is None:
            shown = f"queued for {PATIENCE_S:.0f} s: does a worker run? `rowcall status` looks"
            console.print(f"[dim]{shown}[/dim]", highlight=False)

    saying = asyncio.create_task(say())
    try:
        yield
    finally:
        saying.cancel()


async def _stream(updates: AsyncIterator[Update], times: Times, console: Console) -> Mapping[str, Any]:
    printed = ""
    async for update in updates:
        times.note(update)
        if not update.text.startswith(printed):  # another attempt began, or the finished text differs
            console.print("\n[dim](begins again)[/dim]")
            printed = ""
        console.out(update.text[len(printed) :], end="", highlight=False)
        printed = update.text
        if update.row is not None:
            console.print()
            return update.row
    raise AssertionError("a watch ends with the row")


def _print_ending(shown: Shown, console: Console) -> None:
    if shown.row["error"]:
        error = shown.row["error"]
        console.print(f"[red]{shown.row['status']}[/red] {error['code']}: {escape(error['message'])}")
    for warning in shown.warnings:
        console.print(f"[yellow]![/yellow] {escape(warning)}", highlight=False)
    for citation in shown.citations:
        console.print(f"  [cyan]\\[{citation['number']}][/cyan] {escape(place_of(citation))}", soft_wrap=True)
    times = [(n.removesuffix("_ms").replace("_", " "), ms) for n, ms in shown.times.as_json().items()]
    line = " · ".join(f"{name} {ms:.0f} ms" for name, ms in times if ms is not None)
    console.print(f"  [dim]{line}[/dim]")


def place_of(citation: Mapping[str, Any]) -> str:
    """Title, headings and source of the passage; a first heading that is the title stands there once."""
    title, headings = citation["title"], list(citation["heading_path"])
    below = headings[1:] if headings[:1] == [title] else headings
    return " · ".join(part for part in (title, " › ".join(below), citation["source"]) if part)
