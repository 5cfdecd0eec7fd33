"""How an evaluation looks: a table for a terminal of 80 columns, and quality beside cost as an SVG picture. Pure."""

from collections.abc import Iterator, Sequence
from html import escape as xml
from math import floor, isnan, log10

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from jobs.decisions.statistics import Interval
from worker.evaluating import Summary

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 50, 60
STYLE = """
text { font-size: 13px; fill: #444; stroke: #fff; stroke-width: 4px; paint-order: stroke }
.title { font-size: 16px; font-weight: bold }
"""  # a name is on a white border of its own, where it would cross a line or another dot
CLOSE_X, CLOSE_Y = 90, 18


def evaluation_report(summaries: Sequence[Summary], baseline: str, notes: Sequence[str]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    table.add_column("variant", overflow="fold")
    for name in ("quality", "gained", "USD", "saved", "tokens", "first", "done"):
        table.add_column(name, justify="right", no_wrap=name not in {"gained", "saved"})  # which may break at spaces
    for s in summaries:
        is_base = s.variant == baseline
        table.add_row(
            escape(s.variant),
            f"{100 * s.quality:.1f} %",
            "" if is_base else points(s.quality_gain),
            "?" if s.cost_usd is None else dollars(s.cost_usd),
            "" if is_base else percent(s.saved_share),
            f"{s.tokens_in:.0f}+{s.tokens_out:.0f}",
            milliseconds(s.first_ms),
            milliseconds(s.finished_ms),
        )
    lines = [
        f"{s.variant}: {s.answered} of {s.questions} answered"
        + (f", {s.reused} from the cache" if s.reused else "")
        + (f"; routes: {', '.join(f'{name} {n}' for name, n in s.routes.items())}" if s.routes else "")
        for s in summaries
    ]
    said = [
        f"Gained (points) and saved (%) beside {baseline}; in brackets: 95 %, paired bootstrap.",
        "Tokens: in + out, a question. Times: median, ms.",
        *notes,
    ]
    return Group(table, "", *map(escape, lines), "", *(f"[dim]{escape(line)}[/dim]" for line in said))


def pareto_svg(summaries: Sequence[Summary]) -> str:
    """Quality by cost, with the line of the variants that no other beats in both. Those without a known cost are left
    out.
    """
    shown = [(s.variant, s.cost_usd, s.quality) for s in summaries if s.cost_usd is not None]
    most = max((cost for _, cost, _ in shown), default=0.0) or 1.0
    low = min((quality for *_, quality in shown), default=0.0)
    floor = max(0.0, 0.1 * int(10 * low - 0.5))

    def x(cost: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * cost / (1.1 * most)

    def y(quality: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (quality - floor) / (1.0 - floor)

    best = [point for point in shown if not any(_beats(other, point) for other in shown)]
    line = " ".join(f"{x(cost):.1f},{y(quality):.1f}" for _, cost, quality in sorted(best, key=lambda p: p[1]))
    grid = [floor + (1.0 - floor) * step / 4 for step in range(5)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f"<style>{STYLE}</style>",
        "<title>Quality beside cost</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" class="title">Quality beside cost</text>',
        *(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(q):.1f}" y2="{y(q):.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(q) + 4:.1f}" text-anchor="end">{100 * q:.0f} %</text>'
            for q in grid
        ),
        *(
            f'<text x="{x(usd):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{usd:g}</text>'
            for usd in _ticks(1.1 * most)
        ),
        f'<text x="{WIDTH // 2}" y="{HEIGHT - 16}" text-anchor="middle">US dollars for all questions</text>',
        f'<polyline points="{line}" fill="none" stroke="#3ecf8e" stroke-width="2"/>',
        *_dots([(name, x(cost), y(quality), (name, cost, quality) in best) for name, cost, quality in shown]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ticks(most: float) -> list[float]:
    """From 0 to `most`, a round distance apart: three to six."""
    size = 10.0 ** floor(log10(most / 5))
    step = next(size * digit for digit in (1, 2, 5, 10) if size * digit >= most / 5)
    return [round(step * number, 12) for number in range(floor(most / step) + 1)]


def _dots(dots: Sequence[tuple[str, float, float, bool]]) -> Iterator[str]:
    """Name, place and whether it is on the line, of each; names that would cover each other stand below one another."""
    for _name, x, y, on_line in dots:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{"#2aa873" if on_line else "#999"}"/>'
    for number, (name, x, y, _) in enumerate(dots):
        crowd = sum(
            abs(x - other_x) < CLOSE_X and abs(y - other_y) < CLOSE_Y for _, other_x, other_y, _ in dots[:number]
        )
        anchor, shift = ("end", -9) if x > WIDTH - 160 else ("start", 9)  # else the name would leave the picture
        place = f'x="{x + shift:.1f}" y="{y - 7 + crowd * CLOSE_Y:.1f}" text-anchor="{anchor}"'
        yield f"<text {place}>{xml(name)}</text>"


def _beats(one: tuple[str, float, float], two: tuple[str, float, float]) -> bool:
    """No dearer, no worse, and one of both better."""
    return one[1] <= two[1] and one[2] >= two[2] and one[1:] != two[1:]


def points(interval: Interval) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * interval.estimate:+.0f} [{100 * interval.low:+.0f} {100 * interval.high:+.0f}]"


def percent(interval: Interval | None) -> str:
    if interval is None or isnan(interval.estimate):
        return "?"
    return f"{100 * interval.estimate:.0f} [{100 * interval.low:.0f} {100 * interval.high:.0f}]"


def dollars(cost_usd: float) -> str:
    return f"{cost_usd:.5f}" if cost_usd < 10 else f"{cost_usd:.2f}"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
