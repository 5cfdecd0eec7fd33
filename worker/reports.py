"""How a project's state looks in a terminal of 80 columns. Pure: from what `Operations` answers to what rich prints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.doctor.findings import Finding, Level

Json = Mapping[str, Any]

STARVING_S = 10.0  # a due row that waits longer, while nobody holds a lease, waits for a worker that is not there
SHOWN_WORKERS = 5
NUMBERS = ("calls", "failed", "tokens in", "cached", "out", "USD")  # of `usage_report`


def status_report(status: Json, project: str) -> RenderableType:
    """`status`: of `status_v1`, with `queue` and `embedding_model`, each None where it is not known here."""
    head = Table.grid(padding=(0, 2))
    head.add_column(style="dim")
    head.add_column()
    head.add_row("project", escape(project))
    head.add_row("at", _moment(status["at"]))
    head.add_row("workers", _workers(status["workers"]))
    if status["queue"] is not None:
        head.add_row("redis", _backlog(status["queue"]))
    head.add_row(_span(status["window_s"]), _endings(status["ended"], status["codes"]))
    head.add_row("today", _spent(status["today"]))
    head.add_row("vectors", escape(", ".join(status["embedding_models"])) or "[dim]none stored[/dim]")
    lines = [*advised(status), *unfindable(status["embedding_model"], status["embedding_models"])]
    advice = [f"[yellow]![/yellow] {line}" for line in lines]
    return Group(head, "", _open_rows(status["open"]), *advice)


def advised(status: Json) -> list[str]:
    """What an operator should look at."""
    lines = []
    oldest_s = max((o["oldest_s"] or 0.0 for o in status["open"] if o["status"] == "queued"), default=0.0)
    if oldest_s > STARVING_S and not status["workers"]:
        lines.append(f"a row is due for {_duration(oldest_s)} and no worker holds any: does `rowcall worker` run?")
    if lost := status["lost_leases"]:
        whose = "attempt has lost its" if lost == 1 else "attempts have lost their"
        lines.append(f"{lost} {whose} worker; the sweeper hands such rows out again")
    if status["today"]["unpriced_calls"]:
        lines.append("some calls have no known price, so no budget counts them: see \\[prices] in rowcall.toml")
    return lines


def unfindable(configured: str | None, stored: Sequence[str]) -> list[str]:
    """What no question finds, since its vectors are of another model than the question's. None: that is not known."""
    others = [model for model in stored if model != configured]
    if configured is None:
        several = "chunks of several embedding models are stored: a question finds those of one only"
        return [several] if len(stored) > 1 else []
    unfound = f"questions are embedded by {escape(configured)} and find no chunk of {escape(', '.join(others))}"
    return [f"{unfound}: `rowcall ingest --reembed`"] if others else []


def usage_report(lines: Sequence[Json], by: Sequence[str], width: int) -> RenderableType:
    """A line for each, or two where `width` has no room for names beside numbers. No number is ever cut."""
    names = [[*by], *([_name(line[name]) for name in by] for line in lines)]
    numbers = [[*NUMBERS], *(_sums([line]) for line in lines)]
    if len(lines) > 1:
        names.append(["total", *[""] * len(by[1:])])
        numbers.append(_sums(lines))
    left, right = _aligned(names, set_cell_size), _aligned(numbers, str.rjust)
    if cell_len(left[0]) + 2 + len(right[0]) <= width:
        rows = [f"{name}  {number}" for name, number in zip(left, right, strict=True)]
    else:
        rows = [f"{' · '.join(filter(None, name))}\n  {number}" for name, number in zip(names, right, strict=True)]
    bold = {0, len(lines) + 1}
    shown = (Text(row, "bold" if n in bold else "", overflow="fold") for n, row in enumerate(rows))
    return Group(*shown, *(f"[dim]{note}[/dim]" for note in _usage_notes(lines)))


def _name(value: object) -> str:
    return "-" if value is None else str(value)


def _sums(lines: Sequence[Json]) -> list[str]:
    counts = (
        sum(line["calls"] for line in lines),
        sum(line["failed"] + line["abandoned"] for line in lines),
        sum(line["tokens_in"] for line in lines),
        sum(line["tokens_cached"] for line in lines),
        sum(line["tokens_out"] for line in lines),
    )
    return [*(f"{count:,}" for count in counts), dollars(sum(line["cost_usd"] for line in lines), _unpriced(lines))]


def _aligned(rows: Sequence[Sequence[str]], pad: Callable[[str, int], str]) -> list[str]:
    """Each row as one line, its columns as wide as their widest cell."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _usage_notes(lines: Sequence[Json]) -> Iterator[str]:
    if _unpriced(lines):
        yield "+ and calls of unknown price"
    if reused := sum(line["reused"] for line in lines):
        saved = dollars(sum(line["saved_usd"] for line in lines), 0)
        yield f"{reused:,} calls were spared by the cache: {saved} USD"
    if checked := sum(line["checked"] for line in lines):
        escalated = sum(line["escalated"] for line in lines)
        yield f"{checked:,} answers were checked, {escalated:,} ({escalated / checked:.0%}) failed"


def dead_report(rows: Sequence[Json]) -> RenderableType:
    parts: list[RenderableType] = []
    for row in rows:
        status = "answered, column not filled" if row["status"] == "succeeded" else row["status"]
        tries = f"{row['tries']} {'try' if row['tries'] == 1 else 'tries'}"
        facts = (_moment(row["finished_at"]), tries, *([escape(row["target"])] if row["target"] else []))
        parts.append(f"[bold]{row['id']}[/bold] {escape(row['kind'])} · {status}")
        parts.append(Padding(f"[dim]{' · '.join(facts)}[/dim]", (0, 0, 0, 2), expand=False))
        why = f"[red]{escape(row['error_code'] or '-')}[/red] {escape(row['error_message'] or '')}"
        parts.append(Padding(why, (0, 0, 0, 2), expand=False))
    return Group(*parts)


MARKS = {Level.GOOD: "[green]✓[/green]", Level.NOTE: "[yellow]![/yellow]", Level.PROBLEM: "[red]✗[/red]"}


def finding_report(finding: Finding) -> RenderableType:
    """A line for what was seen, and below it what to do."""
    table = Table.grid(padding=(0, 1))
    for width in (1, 18, None):
        table.add_column(width=width, overflow="fold")
    table.add_row(MARKS[finding.level], escape(finding.check), escape(finding.says))
    if finding.cure:
        table.add_row("", "", f"[bold]→[/bold] {escape(finding.cure)}")
    return table


def dollars(cost_usd: float, unpriced: int) -> str:
    """Four decimals, more where that would show nothing; with a + where the price of some calls is unknown."""
    shown = f"{cost_usd:,.4f}" if cost_usd >= 0.0001 or not cost_usd else f"{cost_usd:.2g}"
    return shown + ("+" if unpriced else "")


def _open_rows(rows: Sequence[Json]) -> RenderableType:
    if not rows:
        return "[dim]no row is queued or running[/dim]"
    table = Table(box=None, pad_edge=False)
    for name in ("lane", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("queued", "scheduled", "running", "oldest due"):
        table.add_column(name, justify="right", no_wrap=True)
    for lane, kind in sorted({(o["lane"], o["kind"]) for o in rows}):
        queued, running = (
            next((o for o in rows if (o["lane"], o["kind"], o["status"]) == (lane, kind, status)), {"rows": 0})
            for status in ("queued", "running")
        )
        oldest_s = queued.get("oldest_s")
        table.add_row(
            lane,
            escape(kind),
            f"{queued['rows']:,}",
            f"{queued.get('waiting', 0):,}",
            f"{running['rows']:,}",
            "-" if oldest_s is None else _duration(oldest_s),
        )
    return table


def _workers(workers: Sequence[Json]) -> str:
    if not workers:
        return "[dim]none holds a row[/dim]"
    shown = [f"{escape(w['worker'])} runs {w['running']}" for w in workers[:SHOWN_WORKERS]]
    more = [f"and {len(workers) - SHOWN_WORKERS} more"] if len(workers) > SHOWN_WORKERS else []
    return "\n".join([*shown, *more])


def _backlog(queue: Json) -> str:
    if "problem" in queue:
        return f"[red]{escape(queue['problem'])}[/red]"
    lanes = (
        f"{lane['lane']} {lane['waiting']:,} waiting"
        + (f" for {_duration(lane['oldest_s'])}" if lane["waiting"] else "")
        for lane in queue["lanes"]
    )
    return " · ".join([*lanes, f"{queue['scheduled']:,} scheduled"])


def _endings(ended: Mapping[str, int], codes: Sequence[Json]) -> str:
    if not ended:
        return "[dim]no row ended[/dim]"
    colors = {"succeeded": "green", "failed": "red", "refused": "yellow"}
    parts = [f"[{colors.get(s, 'default')}]{n:,} {s}[/]" for s, n in sorted(ended.items(), key=lambda item: -item[1])]
    causes = ", ".join(f"{escape(c['code'])} {c['rows']:,}" for c in codes)
    return " · ".join(parts) + (f" [dim]({causes})[/dim]" if causes else "")


def _spent(today: Json) -> str:
    calls = f"{today['calls']:,} call{'' if today['calls'] == 1 else 's'}"
    return f"{calls} · {dollars(today['cost_usd'], today['unpriced_calls'])} US dollars"


def _unpriced(lines: Sequence[Json]) -> int:
    return sum(line["unpriced"] for line in lines)


def _moment(at: str) -> str:
    return f"{at[:10]} {at[11:19]} UTC"


def _span(window_s: float) -> str:
    return f"last {_duration(window_s)}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.1f} s"
