"""`rowcall demo`: from nothing to streamed answers about Rowcall's own documentation."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.client import Rowcall
from worker.documents import ingest_paths
from worker.ingests import Ingested
from worker.local.stack import Stack
from worker.local.wiring import StackConfig
from worker.terminal import Shown, show_answer

QUESTIONS = (
    "What happens to a row when the worker that runs it is killed?",
    "Which columns may a client insert into generations?",
    "How does a client notice that it missed a part of the stream?",
    "What is the airspeed velocity of an unladen swallow?",
)
PAGES = ("architecture.md", "guarantees.md", "limits.md", "automations.md")  # prose; the references are tables
PARTS = frozenset({"valkey", "models", "pg_net", "realtime", "intake"})


@dataclass(frozen=True, slots=True)
class Demonstrated:
    ingested: Sequence[Ingested]
    shown: Sequence[Shown]

    @property
    def is_well(self) -> bool:
        """Every question was answered, and every answer but the last cites a document."""
        sources = {i.source for i in self.ingested}
        cited = all(s.citations and {c["source"] for c in s.citations} <= sources for s in self.shown[:-1])
        succeeded = all(s.succeeded for s in self.shown) and all(i.status == "succeeded" for i in self.ingested)
        return cited and succeeded

    def as_json(self) -> dict[str, Any]:
        questions = zip(QUESTIONS, self.shown, strict=True)
        return {
            "ingested": [asdict(i) for i in self.ingested],
            "answers": [{"question": question, **shown.as_json()} for question, shown in questions],
        }


def run_demo(project_dir: Path, state_dir: Path, *, live: bool, console: Console) -> Demonstrated:
    """Raises StackError where the stack does not start."""
    config = StackConfig(state_dir, project_dir, parts=PARTS, workers=1, live=live)
    began = time.monotonic()
    with Stack(config) as stack:
        console.print(f"[dim]embedded Supabase, Redis, intake and worker: {time.monotonic() - began:.1f} s[/dim]")
        return asyncio.run(_ask_all(stack, project_dir / "docs", console))


async def _ask_all(stack: Stack, docs: Path, console: Console) -> Demonstrated:
    account = {"email": "demo@example.com", "password": "insert a row, get an answer"}
    async with Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **account) as rowcall:
        began = time.monotonic()
        ingested = await ingest_paths(rowcall, [docs / page for page in PAGES])
        console.print(_describe(ingested, time.monotonic() - began))
        shown = []
        for question in QUESTIONS:
            console.print(f"\n[bold]{question}[/bold]")
            shown.append(await show_answer(rowcall, {"question": question}, console))
    return Demonstrated(ingested, shown)


def _describe(ingested: Sequence[Ingested], took_s: float) -> str:
    chunks = sum(i.chunks for i in ingested)
    return f"[dim]{len(ingested)} pages of docs/ ingested: {chunks} chunks in {took_s:.1f} s[/dim]"
