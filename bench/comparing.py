"""Ways to do the same, each beside Rowcall's."""

from collections.abc import Mapping

from jobs.decisions.statistics import Interval

OURS = "rowcall"
Compared = tuple[float, Interval]  # what a way reached, and how much Rowcall is above it
Report = Mapping[str, Mapping[str, Compared]]  # by set and way


def table(report: Report, *, digits: int, unit: str = "") -> str:
    lines = []
    for name, found in report.items():
        lines.append(name)
        for way, (reached, gain) in found.items():
            estimate, low, high = (f"{value:+.{digits}f}" for value in (gain.estimate, gain.low, gain.high))
            beside = "" if way == OURS else f"   {OURS} {estimate} ({low} to {high})"
            lines.append(f"  {way:24}{reached:6.{digits}f}{unit}{beside}")
    return "\n".join(lines)
