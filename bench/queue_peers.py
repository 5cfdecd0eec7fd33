"""Rowcall's queue beside its peers, on one Redis, in one run.

    python bench/queue_peers.py [--quick] [--runs N] [--only NAME …] [--json FILE]

Each peer at its documented best, 100 jobs at once; arq also as it comes. Peers take turns within each run, and a number
is the median of the runs. The last line sums up; exit 1 when a goal is missed. What is measured, for each peer:

- drain: no-op jobs that stand in the queue, per second, from the first start to the last end; processor time, commands
  (those in scripts as well) and reads of the server for each
- two: the same with two worker processes; slow: the same with 2 ms added to each round trip
- steady: jobs of 50 ms, as a share of the ideal 2,000 per second
- latency: enqueue to start at 20 jobs per second
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import redis
from measuring import Goal, percentile
from peer_installs import PEERS, PEERS_MEASURED, Peer, install

from worker.local.ports import free_port
from worker.local.processes import Child, Children, Command
from worker.local.valkey import answers, valkey_command

PROJECT = Path(__file__).parents[1]
PLACES = 100
STEADY_MS = 50
TRICKLE_PER_S = 20
TIMEOUT_S = 120.0
HELD = (13, 10)  # workers, and places of each


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    port: int
    slow_port: int
    client: redis.Redis

    @property
    def slow_url(self) -> str:
        return self.url.replace(f":{self.port}/", f":{self.slow_port}/")

    def used(self) -> tuple[int, int]:
        """Commands and reads so far."""
        commands = sum(stats["calls"] for stats in self.info("commandstats").values())
        return commands, self.info("stats")["total_reads_processed"]

    def info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = self.client.info(section)  # type: ignore[assignment] # redis-py types it for asyncio too
        return info


class Report:
    """What one worker process has printed so far."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._read = 0
        self.last: dict[str, Any] = {"ended": 0, "most_at_once": 0}
        self.waits_ms: list[float] = []

    def update(self) -> None:
        self._child.check()
        with self._child.log.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if line.startswith(b'{"ended"'):
                    self.last = json.loads(line)
                    self.waits_ms += [ns / 1e6 for ns in self.last["waits_ns"]]


@contextmanager
def serving(folder: Path, children: Children) -> Iterator[Server]:
    password, port, slow_port = token_urlsafe(), free_port(), free_port()
    valkey = children.spawn("valkey", valkey_command(folder / "valkey", port, password))
    wire = children.spawn("wire", Command((sys.executable, str(PEERS / "slow_wire.py"), str(slow_port), str(port))))
    while not answers(port, password) or not answers(slow_port, password):
        valkey.check()
        wire.check()
        time.sleep(0.05)
    with redis.Redis(port=port, password=password) as client:
        yield Server(f"redis://:{password}@127.0.0.1:{port}/0", port, slow_port, client)


@dataclass(frozen=True, slots=True)
class Bench:
    server: Server
    children: Children
    scale: float  # of the numbers of jobs

    def scaled(self, count: int) -> int:
        return max(40, round(count * self.scale))

    def fill(self, peer: Peer, count: int, ms: int) -> None:
        self.server.client.flushall()
        self._enqueue(peer, "fill", count, ms)

    def _enqueue(self, peer: Peer, how: str, count: int, third: int) -> None:
        command = peer.command(how, self.server.url, str(count), str(third))
        done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            raise SystemExit(f"{peer.name} could not enqueue:\n{done.stderr[-2000:]}")

    @contextmanager
    def working(
        self, peer: Peer, processes: int = 1, *, url: str = "", extra: Sequence[str] = ()
    ) -> Iterator[list[Report]]:
        command = Command(peer.command("work", url or self.server.url, *extra), folder=PROJECT)
        name = peer.name.replace(" ", "-")
        started = [self.children.spawn(f"{name}-{n}-{time.monotonic_ns()}", command) for n in range(processes)]
        try:
            yield [Report(child) for child in started]
        finally:
            for child in started:
                child.kill()

    def drained(self, reports: Sequence[Report], count: int) -> float:
        """Seconds from the first start to the last end."""
        deadline = time.monotonic() + TIMEOUT_S
        while sum(report.last["ended"] for report in reports) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"not drained: {[report.last for report in reports]}")
            time.sleep(0.05)
            for report in reports:
                report.update()
        ran = [report.last for report in reports if report.last["ended"]]
        first_ns, last_ns = min(int(r["first_ns"]) for r in ran), max(int(r["last_ns"]) for r in ran)
        return (last_ns - first_ns) / 1e9

    # What is measured

    def drain(self, peer: Peer) -> dict[str, float]:
        count = self.scaled(peer.drain)
        self.fill(peer, count, 0)
        commands, reads = self.server.used()
        with self.working(peer) as reports:
            seconds = self.drained(reports, count)
        commands_after, reads_after = self.server.used()
        return {
            "drain_per_s": count / seconds,
            "cpu_s_per_1000": reports[0].last["cpu_ns"] / 1e6 / count,
            "commands_per_job": (commands_after - commands) / count,
            "reads_per_job": (reads_after - reads) / count,
        }

    def two(self, peer: Peer) -> dict[str, float]:
        count = self.scaled(2 * peer.drain)
        self.fill(peer, count, 0)
        with self.working(peer, 2) as reports:
            return {"two_per_s": count / self.drained(reports, count)}

    def slow(self, peer: Peer) -> dict[str, float]:
        count = self.scaled(peer.slow_drain)
        self.fill(peer, count, 0)
        with self.working(peer, url=self.server.slow_url) as reports:
            return {"slow_per_s": count / self.drained(reports, count)}

    def steady(self, peer: Peer) -> dict[str, float]:
        count = self.scaled(peer.steady)
        self.fill(peer, count, STEADY_MS)
        with self.working(peer) as reports:
            seconds = self.drained(reports, count)
        ideal_s = -(-count // PLACES) * STEADY_MS / 1000
        return {"steady_share": ideal_s / seconds}

    def latency(self, peer: Peer) -> dict[str, float]:
        count = self.scaled(100)
        self.server.client.flushall()
        with self.working(peer) as reports:
            time.sleep(2.0)  # it has started, and waits
            self._enqueue(peer, "trickle", count, TRICKLE_PER_S)
            self.drained(reports, count)
        waits = reports[0].waits_ms
        return {f"p{n}_ms": percentile(waits, n / 100) for n in (50, 95, 99)}

    def held(self, peer: Peer) -> int:
        """How many long jobs 13 workers with 10 places each run at once."""
        workers, places = HELD
        self.fill(peer, workers * places + 50, 60_000)
        with self.working(peer, extra=[str(workers), str(places)]) as [report]:
            deadline = time.monotonic() + 10.0
            while report.last["most_at_once"] < workers * places and time.monotonic() < deadline:
                time.sleep(0.1)
                report.update()
            return int(report.last["most_at_once"])


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for run in runs for name in run}
    return {name: statistics.median(run[name] for run in runs if name in run) for name in sorted(names)}


def goals_of(found: Mapping[str, Mapping[str, float]], held: int | None) -> list[Goal]:
    """Goals whose peers were measured."""
    ours, goals = found["rowcall"], []

    def goal(text: str, value: float, holds: bool, unit: str = "") -> None:  # noqa: FBT001 - a table's column
        goals.append(Goal(text, f"{value:.3g}{unit}", holds))

    def against(peer: str, text: str, factor: float, name: str, *, at_most: bool = False) -> None:
        if peer in found:
            ratio = ours[name] / found[peer][name]
            goal(text, ratio, ratio <= factor if at_most else ratio >= factor, " x")

    against("bullmq", "drain at least 1.2 x BullMQ's", 1.2, "drain_per_s")
    against("arq tuned", "drain at least 10 x tuned arq's", 10.0, "drain_per_s")
    goal("at least 95 % of the ideal on jobs of 50 ms", 100 * ours["steady_share"], ours["steady_share"] >= 0.95, " %")
    against("saq", "median latency at most 0.7 x SAQ's", 0.7, "p50_ms", at_most=True)
    goal("at most 0.05 reads a job", ours["reads_per_job"], ours["reads_per_job"] <= 0.05)
    ratio = ours["two_per_s"] / ours["drain_per_s"]
    goal("a second process loses nothing (within the noise of 5 %)", ratio, ratio >= 0.95, " x")
    if held is not None:
        wanted = HELD[0] * HELD[1]
        goal(f"13 workers with 10 places hold {wanted} jobs", held, held == wanted)
    return goals


COLUMNS = {
    "drain_per_s": "drain/s",
    "two_per_s": "two/s",
    "slow_per_s": "slow/s",
    "steady_share": "steady",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "cpu_s_per_1000": "cpu-s/1k",
    "commands_per_job": "cmds/job",
    "reads_per_job": "reads/job",
}


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    lines = [f"{'':14}" + "".join(f"{title:>11}" for title in COLUMNS.values())]
    for peer, numbers in found.items():
        cells = (
            f"{numbers[name]:>11,.0f}" if name.endswith("per_s") else f"{numbers[name]:>11.3f}" for name in COLUMNS
        )
        lines.append(f"{peer:14}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run with half the jobs: an indication")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[p.name for p in PEERS_MEASURED], help="and Rowcall")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    peers = [p for p in PEERS_MEASURED if not options.only or p.name in (*options.only, "rowcall")]
    for peer in peers:
        install(peer)
    runs: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
    with (
        tempfile.TemporaryDirectory() as folder,
        Children(Path(folder)) as children,
        serving(Path(folder), children) as server,
    ):
        bench = Bench(server, children, 0.5 if options.quick else 1.0)
        info = server.info("server")
        versions = {p.name: " ".join(p.requirements) or "this checkout" for p in peers}
        versions |= {"server": f"valkey {info.get('valkey_version', info['redis_version'])}"}
        versions |= {"python": platform.python_version(), "machine": f"{platform.machine()}, {platform.system()}"}
        print("\n".join(f"{name}: {version}" for name, version in versions.items()), flush=True)
        for number in range(1 if options.quick else options.runs):
            for measure in (bench.drain, bench.two, bench.slow, bench.steady, bench.latency):
                for peer in peers:  # interleaved: a slow minute of the machine is everybody's
                    numbers = measure(peer)
                    shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
                    print(f"run {number + 1} {peer.name}: {shown}", flush=True)
                    runs[peer.name].append(numbers)
        held = bench.held(next(p for p in peers if p.name == "rowcall"))
    found = {name: medians(numbers) for name, numbers in runs.items()}
    goals = goals_of(found, held)
    print(table(found))
    print("\n".join(str(goal) for goal in goals))
    if options.json:
        missed = [goal.text for goal in goals if not goal.holds]
        every = {"versions": versions, "medians": found, "runs": runs, "held": held, "missed": missed}
        options.json.write_text(json.dumps(every, indent=1))
    ours, kept = found["rowcall"], sum(goal.holds for goal in goals)
    print(
        f"queue_peers: {kept} of {len(goals)} goals; drain {ours['drain_per_s']:,.0f}/s, steady "
        f"{100 * ours['steady_share']:.1f} %, p50 {ours['p50_ms']:.2f} ms, {ours['reads_per_job']:.3f} reads a job"
    )
    return 0 if kept == len(goals) else 1


if __name__ == "__main__":
    sys.exit(main())
