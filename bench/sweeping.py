"""How quickly the sweeper brings back what Redis lost, on a database with many rows that have ended.

    python bench/sweeping.py [--ended N] [--queued N]

On the embedded stack: N ended rows (default 1,000,000), 10,000 queued ones, an empty Redis. Exit 1 when not all are
back within 10 s, when a running row is among them, or when a look that finds nothing takes over 10 ms.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from measuring import Goal

from worker.adapters.database import connected as database_connected
from worker.adapters.rows import SupabaseRows
from worker.local.stack import Stack
from worker.local.wiring import StackConfig
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.queue.turns import RedisTurn
from worker.sweeper import Sweeper, Sweeping
from worker.telemetry import Metrics

PROJECT = Path(__file__).parents[1]
CHUNK = 50_000
RUNNING = 1_000
LOOKS = 50

INSERT = """
insert into rowcall.generations (kind, input, claims, origin, lane, status, tenant, finished_at, attempt)
select 'answer', '{"question": "why?"}', '{}', 'service', 'interactive', %s, 'tenant-' || n %% 100, %s, %s
  from generate_series(1, %s) n
"""
LEASES = """
insert into rowcall.attempts (generation_id, attempt, worker, lease_until)
select id, 1, 'elsewhere', now() + interval '1 hour' from rowcall.generations where status = 'running'
"""


def fill(db_url: str, ended: int, queued: int) -> None:
    """Without the triggers of an insert, which serve clients."""
    with psycopg.connect(db_url, autocommit=True) as database:
        database.execute("alter table rowcall.generations disable trigger user")
        database.execute("set synchronous_commit = off")
        for start in range(0, ended, CHUNK):
            database.execute(INSERT, ("succeeded", "2026-01-01", 1, min(CHUNK, ended - start)))
        database.execute(INSERT, ("running", None, 1, RUNNING))
        database.execute(LEASES)
        database.execute(INSERT, ("queued", None, 0, queued))
        database.execute("vacuum analyze rowcall.generations")


async def measure(stack: Stack, queued: int) -> list[Goal]:
    environment = stack.environment()
    url, key = environment["SUPABASE_URL"], environment["SUPABASE_SECRET_KEY"]
    async with database_connected(url, key) as database, connected(environment["REDIS_URL"]) as redis:
        rows = SupabaseRows(database, worker="bench", lease_s=15.0, opens={}, max_losses=3)
        queue = ArqQueue(redis)
        sweeper = Sweeper(rows, queue, RedisTurn(redis), Metrics(), Sweeping(grace_s=0.0))
        await sweeper.sweep()  # connections are open now, plans are made
        await redis.flushall()
        began_s = time.monotonic()
        found = await sweeper.sweep()
        back_s = time.monotonic() - began_s
        backlog = await queue.backlog()
        await rows.close()
    look_ms = idle_look_ms(stack.db_url)
    waiting = sum(lane.waiting for lane in backlog.lanes)
    return [
        Goal(f"{queued} rows are back within 10 s", f"{back_s:.2f} s", found == queued and back_s <= 10),
        Goal("and none that runs elsewhere", f"{waiting} hints", waiting == queued),
        Goal("a look that finds nothing takes at most 10 ms", f"{look_ms:.1f} ms", look_ms <= 10),
    ]


def idle_look_ms(db_url: str) -> float:
    """What the database needs, in the median, to find that nothing is due."""
    looks_s = []
    with psycopg.connect(db_url, autocommit=True) as database:
        database.execute("update rowcall.generations set run_at = now() + interval '1 hour' where status = 'queued'")
        database.execute("vacuum rowcall.generations")
        for _ in range(LOOKS):
            began_s = time.monotonic()
            assert database.execute("select * from rowcall.due_generations_v1(1.0, 500)").fetchall() == []
            looks_s.append(time.monotonic() - began_s)
    return 1000 * statistics.median(looks_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ended", type=int, default=1_000_000)
    parser.add_argument("--queued", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Stack(StackConfig(Path(folder), PROJECT)) as stack:
        began_s = time.monotonic()
        fill(stack.db_url, options.ended, options.queued)
        print(f"{options.ended:,} ended rows written in {time.monotonic() - began_s:.0f} s", flush=True)
        goals = asyncio.run(measure(stack, options.queued))
    print("\n".join(str(goal) for goal in goals))
    kept = sum(goal.holds for goal in goals)
    print(
        f"sweeping: {kept} of {len(goals)} goals; {goals[0].found} for {options.queued:,} rows, {goals[2].found} a look"
    )
    return 0 if kept == len(goals) else 1


if __name__ == "__main__":
    sys.exit(main())
