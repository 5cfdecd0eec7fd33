"""What the commands do that speak to a project with its secret key."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from worker.client import RequestRefused
from worker.doctor.findings import Finding, Level
from worker.drilling import Drilled
from worker.operations import Operations, Replayed
from worker.ports import QueueUnavailable
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected as redis_connected
from worker.reports import dead_report, finding_report, status_report, usage_report

SUMS = ("calls", "failed", "abandoned", "unpriced", "tokens_in", "tokens_cached", "tokens_out", "cost_usd")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # no ledger is older
PAGE = 500  # rows in one call of replay or prune
Backlog = Callable[[], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Operator:
    """A project, its secret key, and where both were found."""

    url: str
    secret_key: str = field(repr=False)
    origin: str
    redis_url: str | None = field(default=None, repr=False)  # where the fleet's queue is, if this machine reaches it

    @property
    def project(self) -> str:
        return f"{self.url} · {self.origin}"

    def connected(self) -> AbstractAsyncContextManager[Operations]:
        return Operations.connected(self.url, self.secret_key)


@dataclass(frozen=True, slots=True)
class Look:
    """What `rowcall status` looks at."""

    window_s: float  # how far back endings are counted
    embedding_model: str | None  # of questions, as configured; None: there is no rowcall.toml here


@dataclass(frozen=True, slots=True)
class Usage:
    """What `rowcall usage` sums: whole days (UTC) up to now, kept apart by those columns."""

    days: int
    by: tuple[str, ...]

    def since(self, now: datetime) -> datetime:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=min(self.days - 1, (midnight - EPOCH).days))


async def show_findings(findings: AsyncIterator[Finding], project: str, *, as_json: bool) -> bool:
    """Each as it is made. False: one of them is a problem."""
    console, made = Console(quiet=as_json), []
    console.print(f"[dim]{project}[/dim]", soft_wrap=True)
    async for finding in findings:
        console.print(finding_report(finding))
        made.append(finding)
    problems = sum(finding.level is Level.PROBLEM for finding in made)
    if as_json:
        print_value([asdict(finding) for finding in made], as_json=True, shown=console.print)
    else:
        verdict = f"[red]{problems} to mend[/red]" if problems else "[green]nothing to mend[/green]"
        console.print(f"\n{verdict}")
    return not problems


async def show_drill(drilled: AsyncIterator[Drilled], project: str, *, is_local: bool, as_json: bool) -> bool:
    """Each chain as it ends. False: one gave no answer, or there is none."""
    console, made = Console(quiet=as_json), []
    console.print(f"[dim]{project}[/dim]", soft_wrap=True)
    async for chain in drilled:
        made.append(chain)
        outcome = (
            f"[green]{escape(chain.answered_by)} answered[/green]" if chain.answered_by else "[red]no answer[/red]"
        )
        why = f" [dim]{escape(chain.problem)}[/dim]" if chain.problem else ""
        cause = chain.cause if chain.failing == "first" else f"{chain.cause}, all fail"
        console.print(f"{chain.route:12} {cause:17} {outcome} after {chain.duration_ms:,} ms{why}", soft_wrap=True)
    if not made:
        console.print("no route has a fallback: see \\[fallbacks] in rowcall.toml")
    elif is_local:
        console.print("[dim]the local model stood in for every route: `rowcall dev --live` drills the real ones[/dim]")
    print_value([asdict(chain) for chain in made], as_json=as_json, shown=lambda _console: None)
    return bool(made) and all(chain.answered_by for chain in made)


async def show_status(operator: Operator, look: Look, *, as_json: bool) -> bool:
    async with operator.connected() as operations, watched_queue(operator.redis_url) as queue:
        status = await looked(look, operations, queue)
    print_value(status, as_json=as_json, shown=lambda console: console.print(status_report(status, operator.project)))
    return True


async def watch_status(operator: Operator, look: Look, every_s: float, *, as_json: bool) -> bool:
    """Looks until Ctrl-C; as JSON a line per look. A look that fails says so, and the next one tries again."""
    async with operator.connected() as operations, watched_queue(operator.redis_url) as queue:
        with Live(screen=True) if not as_json else nullcontext() as live:
            while True:
                try:
                    status, problem = await looked(look, operations, queue), None
                except RequestRefused as error:
                    status, problem = {}, str(error)
                if live is None:
                    sys.stdout.write(json.dumps({"problem": problem} if problem else status) + "\n")
                    sys.stdout.flush()
                else:
                    live.update(Text(problem, "red") if problem else status_report(status, operator.project))
                await asyncio.sleep(every_s)


async def looked(look: Look, operations: Operations, queue: Backlog) -> dict[str, Any]:
    """What the database says, what stands in Redis, and how questions are embedded."""
    said = await operations.status(look.window_s)
    return {**said, "queue": await queue(), "embedding_model": look.embedding_model}


@asynccontextmanager
async def watched_queue(redis_url: str | None) -> AsyncIterator[Backlog]:
    """Tells what stands in Redis: its backlog, or the problem; None where no address is known."""
    if redis_url is None:
        yield _nothing
        return
    async with redis_connected(redis_url) as redis:
        queue = ArqQueue(redis)

        async def backlog() -> Mapping[str, Any]:
            try:
                return asdict(await queue.backlog())
            except QueueUnavailable as problem:
                return {"problem": str(problem)}

        yield backlog


async def _nothing() -> None:
    return None


async def show_usage(operator: Operator, usage: Usage, *, as_json: bool) -> bool:
    now = datetime.now(UTC)
    since = usage.since(now)
    async with operator.connected() as operations:
        lines = await operations.usage(since, now, usage.by)
    sums = [{name: value for name, value in line.items() if name in usage.by or name in SUMS} for line in lines]

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}\nsince {since:%Y-%m-%d} 00:00 UTC[/dim]", soft_wrap=True)
        console.print(usage_report(lines, usage.by, console.width) if lines else "no model was called")

    print_value({"since": since.isoformat(), "until": now.isoformat(), "usage": sums}, as_json=as_json, shown=shown)
    return True


async def show_dead(operator: Operator, *, code: str | None, max_rows: int, as_json: bool) -> bool:
    async with operator.connected() as operations:
        rows = await operations.dead(code=code, max_rows=max_rows)

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        with_code = f" with the code {code}" if code else ""
        console.print(dead_report(rows) if rows else escape(f"no row has failed or was refused{with_code}"))
        if len(rows) == max_rows:
            console.print(f"[dim]the latest {max_rows}; --limit shows more[/dim]")

    print_value(rows, as_json=as_json, shown=shown)
    return True


async def replay(operator: Operator, ids: Sequence[str], *, code: str | None, as_json: bool) -> bool:
    """Those rows, or all of the dead with that code until now. False: one of them could not be replayed."""
    made: list[Replayed] = []
    async with operator.connected() as operations:
        if code is None:
            for page in (ids[first : first + PAGE] for first in range(0, len(ids), PAGE)):
                made += await operations.replay(page)
        else:
            made += [row async for row in operations.replay_dead(code, datetime.now(UTC), PAGE)]
    by_outcome = {name: [row.id for row in made if row.outcome == name] for name in ("replayed", "filled")}
    problems = {row.id: row.problem or "" for row in made if row.outcome is None}
    _print_moved(operator, by_outcome, "replayed", problems, as_json=as_json)
    return not problems


async def cancel(operator: Operator, ids: Sequence[str], *, as_json: bool) -> bool:
    """False: one of them had ended, or does not exist."""
    async with operator.connected() as operations:
        canceled = await operations.cancel(ids)
    problems = {id: "it has ended, or does not exist" for id in ids if id not in set(canceled)}
    _print_moved(operator, {"canceled": canceled}, "canceled", problems, as_json=as_json)
    return not problems


async def prune(operator: Operator, *, as_json: bool) -> bool:
    """Page after page, until nothing is left that is older than `rowcall.retention` keeps."""
    deleted: dict[str, int] = {}
    async with operator.connected() as operations:
        with Console(stderr=True, quiet=as_json).status("pruning …") as spinner:
            while True:
                page = await operations.prune(PAGE)
                deleted = {table: deleted.get(table, 0) + count for table, count in page.items()}
                if not any(page.values()):
                    break
                spinner.update(f"pruning … {sum(deleted.values()):,} rows")

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        for table, count in deleted.items():
            console.print(f"{table:13} {count:>9,} deleted", highlight=False)

    print_value(deleted, as_json=as_json, shown=shown)
    return True


def _print_moved(
    operator: Operator,
    moved: Mapping[str, Sequence[str]],
    verb: str,
    problems: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """`moved`: ids by what was done to them; `problems`: by id, why that was not possible."""

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        for id, problem in problems.items():
            console.print(f"[yellow]not {verb}[/yellow] {id}", highlight=False)
            console.print(Padding(escape(problem), (0, 0, 0, 2), expand=False))
        console.print(" · ".join(f"{len(ids)} {name}" for name, ids in moved.items() if ids or name == verb))

    as_lists = {name: list(ids) for name, ids in moved.items()}
    print_value(
        {**as_lists, f"not_{verb}": [{"id": id, "problem": problem} for id, problem in problems.items()]},
        as_json=as_json,
        shown=shown,
    )


def print_value(value: Any, *, as_json: bool, shown: Callable[[Console], None]) -> None:
    if as_json:
        json.dump(value, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        shown(Console())
