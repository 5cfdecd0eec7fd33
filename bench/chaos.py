"""Rows on the embedded stack while everything goes wrong: is anything lost, answered twice, or not in the ledger?

Three workers answer the rows of real clients by a model that takes 50 to 500 ms. Meanwhile workers are killed, told to
stop and stopped beyond their lease, Valkey is killed with and without its data, webhooks are dropped, doubled and
delayed, the gateway fails, hangs and cuts its answers, the model limits, breaks, hangs, cuts its streams and is slow,
and owners cancel. Judged from outside: by what the clients received, by the model's own log, by the rows.

    python bench/chaos.py [--faults 200] [--seed 1] [--json] [--without fence|sweeper|renewal]

`--without` takes out a part of the protocol: then it must fail.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis.asyncio
import structlog
from chaos_clients import Clients, signed_up
from chaos_faults import DRAIN_S, Chaos
from chaos_stage import LEASE_S, SABOTAGE, Stage, Without, staged
from chaos_verdict import Evidence, figures, judge

ASK_EVERY_S = 0.12
MOST_UNFINISHED = 30
STOPS_THAT_SHOW_IT = 3  # a worker that goes on may hear that it lost its rows before it writes


@dataclass(frozen=True, slots=True)
class Outcome:
    evidence: Evidence
    counts: dict[str, int]
    mistreated: dict[str, int]
    seconds: float


def main() -> int:
    options = _parse()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed is the report
    outcome = asyncio.run(play(options.faults, options.seed, options.without, options.patience, options.logs))
    checks = judge(outcome.evidence)
    if options.logs is not None:
        keep(outcome.evidence, options.logs / "evidence.jsonl")
    report = {
        "faults": sum(outcome.counts.values()),
        "seed": options.seed,
        "without": options.without,
        "lease_s": LEASE_S,
        "seconds": round(outcome.seconds, 1),
        "kinds": outcome.counts,
        "requests_mistreated": outcome.mistreated,
        **figures(outcome.evidence),
    }
    missed = [check for check in checks if check.misses]
    summary = (
        f"{'FAILED' if missed else 'passed'}: {report['faults']} faults, {report['rows']} rows, "
        f"{report['repeated_calls']} calls repeated, {len(checks) - len(missed)} of {len(checks)} claims hold"
    )
    if options.json:
        print(json.dumps(report | {"checks": [asdict(check) for check in checks], "summary": summary}))
    else:
        print(*(f"{name:28} {value}" for name, value in report.items()), *checks, summary, sep="\n")
    return 1 if missed else 0


async def play(faults: int, seed: int, without: Without, patience_s: float, logs: Path | None) -> Outcome:
    began, calm_kills = time.monotonic(), 1 + min(4, faults // 100)
    async with staged(seed, without, logs) as stage, signed_up(stage.stack) as clients:
        chaos = Chaos(stage, clients, seed)
        with suppress(TimeoutError):  # the verdict will tell
            async with asyncio.timeout(patience_s):
                for _ in range(calm_kills):
                    await chaos.calm_kill()
                for _ in range(1 if without == "nothing" else STOPS_THAT_SHOW_IT):
                    await chaos.calm_stop()
                for by_webhook in (True, False):
                    await chaos.calm_cancel(by_webhook=by_webhook)
        enough = asyncio.Event()
        asking = asyncio.create_task(clients.ask_until(enough, ASK_EVERY_S, most=MOST_UNFINISHED))
        await chaos.run(faults - len(chaos.happened))
        enough.set()
        await asking
        await clients.until_all_ended(patience_s)
        await stage.fleet.drain(DRAIN_S)
        evidence = await collect(stage, clients, chaos)
        mistreated = {"gateway": stage.gateway.hurt, "webhooks": stage.webhooks.hurt}
        return Outcome(evidence, dict(sorted(chaos.counts.items())), mistreated, time.monotonic() - began)


async def collect(stage: Stage, clients: Clients, chaos: Chaos) -> Evidence:
    """After the last worker has ended."""
    generations = await stage.rows("select id::text, * from rowcall.generations where kind = 'answer'")
    attempts = await stage.rows(
        "select generation_id::text as generation_id, attempt, worker, outcome, started_at, finished_at"
        " from rowcall.attempts order by generation_id, attempt"
    )
    calls = await stage.rows(
        "select id::text as id, generation_id::text as generation_id, attempt, status, tokens_out, is_estimated,"
        " error_code from rowcall.calls"
    )
    return Evidence(
        watched=clients.rows,
        generations={str(row["id"]): row for row in generations},
        attempts=attempts,
        calls={call["id"]: call for call in calls},
        asked=stage.model.log,
        happened=chaos.happened,
        calm_kills=chaos.calm_kills,
        calm_cancels=chaos.calm_cancels,
        leftover_keys=await leftover_keys(stage.stack.redis_url),
        leftover_processes=[child.pid for child in stage.fleet.started if child.running],
        stubborn=chaos.stubborn,
    )


def keep(evidence: Evidence, path: Path) -> None:
    """What happened and what came of it, one thing a line."""
    happened = (asdict(fault) for fault in evidence.happened)
    with path.open("w") as file:
        for thing in (*happened, *evidence.attempts, *evidence.calls.values(), *map(asdict, evidence.asked)):
            file.write(json.dumps(thing, default=str) + "\n")


async def leftover_keys(url: str) -> list[str]:
    """Those of jobs: whatever names a row."""
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        keys: list[Any] = await client.keys("*")
        named = [key for key in keys if key.startswith("arq:")]
        queued = [f"{key} ({await client.zcard(key)})" for key in keys if await client.type(key) == "zset"]
    return sorted(named + queued)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=200, help="how many, the calm kills at the beginning included")
    parser.add_argument("--seed", type=int, default=1, help="draws the faults; their moments still vary")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--without", choices=["nothing", *SABOTAGE], default="nothing", help="a part to take out")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for what is unfinished after the faults")
    parser.add_argument("--logs", type=Path, help="a folder for the logs of all processes and for the evidence")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
