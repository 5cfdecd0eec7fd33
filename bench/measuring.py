"""Numbers of a bench: percentiles, an interval, processor time, and the requests that a process made."""

import json
import math
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Z_95 = 1.959964  # of the normal distribution, two-sided


@dataclass(frozen=True, slots=True)
class Goal:
    """What a bench promises, with what it found."""

    text: str
    found: str
    holds: bool

    def __str__(self) -> str:
        return f"{'ok  ' if self.holds else 'MISS'}  {self.text}: {self.found}"


def to_json(report: object) -> str:
    """The report on one line, its dataclasses as objects."""
    return json.dumps(report, default=asdict)


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: a value that was measured. NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def wilson(hits: int, of: int, z: float = Z_95) -> tuple[float, float]:
    """The interval of a share that was seen in `of` trials (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = hits / of, z * z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def processor_s(pid: int) -> float:
    """Processor time that a running process has used, in user and in kernel mode."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        fields = stat.read_text().rpartition(")")[2].split()  # the name before it may hold anything
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    seconds = 0.0
    for part in shown.strip().replace("-", ":").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


class Requests:
    """The requests that `counted.py` noted since this was made, by method and path."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start = log.stat().st_size

    def counts(self) -> Counter[str]:
        with self._log.open() as lines:
            lines.seek(self._start)
            return Counter(line.strip() for line in lines)
