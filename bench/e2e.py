"""Inserted rows and their answers, as real clients see them: Rowcall beside an arq worker as people write it today.

Both run on one embedded stack, one after the other, with the same documents, questions, model and rate: supabase-js
clients insert rows in an open loop and watch the answers arrive through Realtime. Rowcall's clients take deltas from
the row's private topic; the stock worker updates its row for each piece of text, and its clients watch
postgres_changes.

    python bench/e2e.py [--rate 20] [--seconds 30] [--json]

The embedded Realtime server passes a change on within milliseconds; on a hosted project that takes a quarter of a
second and a broadcast does not. So what is measured here flatters the stock worker.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime

import httpx
import psycopg
from e2e_report import judge, summary, table, verdict
from measuring import Requests, processor_s
from outcomes import Load, Measured, Outcome
from sides import BENCH, Side, rowcall_side, stock_side
from staging import ACCOUNT, PROJECT, temporary_stack

from worker.client import Rowcall
from worker.documents import ingest_paths
from worker.local import node
from worker.local.processes import Children
from worker.local.stack import Stack

USERS = 10
ANSWER_TOKENS = 80
FIRST_TOKEN_S = 0.04
ANSWER_S = 1.0  # from the first token to the last
PATIENCE_S = 300.0  # for one answer
UNHURRIED = Load(rate=0.5, seconds=20.0)  # hardly ever two at once; also what warms both sides up
SHARED_PARTS = ("gateway", "realtime", "models", "pg_net")

QUESTIONS = (
    "What happens to a row when the worker that runs it is killed?",
    "What brings back a webhook that was lost?",
    "Which columns may a client insert into generations?",
    "How does a client notice that it missed a part of the stream?",
    "What is a key frame in the stream of an answer?",
    "What does Redis hold, and what happens when all of it is lost?",
    "Who may read the documents that an answer is made from?",
    "How is a model call recorded in the ledger?",
    "How large may a document be?",
    "Which rows share a request to the database?",
)


def main() -> int:
    options = _parse()
    load, busy = Load(options.rate, options.seconds), round(os.getloadavg()[0], 1)
    with temporary_stack(workers=0) as stack, Children(stack.config.state_dir / "logs") as children:
        pace(stack)
        with rowcall_side(stack, children) as side:
            asyncio.run(ingest_for_everybody(stack))
            _say(f"{side.name}: {UNHURRIED.rows} rows unhurriedly, then {load.rows} at {load.rate:g}/s")
            calm, ours = measure(stack, side, UNHURRIED), measure(stack, side, load)
            lost = lost_rows(stack, ours, load.rows)
        with stock_side(stack, children, ANSWER_TOKENS) as side:
            _say(f"{side.name}: the same")
            stock_calm, stock = measure(stack, side, UNHURRIED), measure(stack, side, load)
    goals = judge(ours, stock, lost)
    sides = {
        "rowcall": summary(ours),
        "stock arq": summary(stock),
        "rowcall, unhurried": summary(calm),
        "stock, unhurried": summary(stock_calm),
    }
    conditions = asdict(load) | {
        "rows": load.rows,
        "users": USERS,
        "processors": os.cpu_count(),
        "busy_before": busy,
        "lost": lost,
    }
    closing = verdict(ours, stock, goals)
    if options.json:
        print(json.dumps(conditions | {"sides": sides, "goals": [asdict(goal) for goal in goals], "summary": closing}))
    else:
        print(json.dumps(conditions), table(sides), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


def pace(stack: Stack) -> None:
    """An answer of ANSWER_TOKENS takes ANSWER_S, however fast the machine is."""
    slow = {"kind": "slow", "first_token_s": FIRST_TOKEN_S, "between_tokens_s": ANSWER_S / ANSWER_TOKENS}
    rules = [{"match": {"endpoint": "chat"}, "times": "always", "fault": slow}]
    httpx.post(f"{stack.model_url.removesuffix('/v1')}/control/faults", json=rules).raise_for_status()


async def ingest_for_everybody(stack: Stack) -> None:
    """The documentation of this repository, readable for every user: what a team shares takes one policy."""
    async with Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **ACCOUNT) as rowcall:
        ingested = await ingest_paths(rowcall, [PROJECT / "docs"])
    assert all(document.status == "succeeded" for document in ingested), ingested
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(
            'create policy "everybody reads" on rowcall.documents for select to authenticated using (true)'
        )


def measure(stack: Stack, side: Side, load: Load) -> Measured:
    with clients(stack, side, load) as process:
        processes = {name: stack.process_id(name) for name in (*SHARED_PARTS, "intake")}
        processes |= {name: child.pid for name, child in side.processes.items()}
        database_now, requests, began = now(stack), Requests(side.requests), time.monotonic()
        before = {name: processor_s(pid) for name, pid in processes.items()}
        outcomes = load_of(process, stack, side)
        used = {name: processor_s(pid) - before[name] for name, pid in processes.items()}
    return Measured(outcomes, requests.counts(), used, time.monotonic() - began, database_now)


def now(stack: Stack) -> datetime:
    """By the database's clock."""
    with psycopg.connect(stack.db_url) as connection:
        row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


@contextmanager
def clients(stack: Stack, side: Side, load: Load) -> Iterator["subprocess.Popen[str]"]:
    """Users who are signed up and connected: hashing their passwords is no part of the load."""
    plan = asdict(load) | {
        "to": side.name,
        "users": USERS,
        "patience_s": PATIENCE_S,
        "questions": QUESTIONS,
        "options": {"max_output_tokens": ANSWER_TOKENS},
    }
    command = [node.find_node(), str(BENCH / "e2e_clients.mjs"), json.dumps(plan)]
    environment = os.environ | stack.environment() | {"LOCAL_MODULES": str(node.FOLDER)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the clients could not sign up"
            yield process
        finally:
            process.kill()


def load_of(process: "subprocess.Popen[str]", stack: Stack, side: Side) -> tuple[Outcome, ...]:
    """Lets the clients begin. Raises `PartDied` as soon as something that they wait for is dead."""
    go: str | None = "go\n"
    while True:
        try:
            printed = process.communicate(go, timeout=1.0)[0]
            break
        except subprocess.TimeoutExpired:
            go = None
            stack.check()
            side.check()
    assert process.returncode == 0, f"the clients ended with exit code {process.returncode}"
    return tuple(Outcome(**json.loads(line)) for line in printed.splitlines())


def lost_rows(stack: Stack, ours: Measured, expected: int) -> int:
    """Rows without exactly one accepted answer, by the database; and rows whose end no client saw."""
    with psycopg.connect(stack.db_url) as connection:
        counted = connection.execute(
            """
            select g.status, count(a.attempt) from rowcall.generations g
              left join rowcall.attempts a on a.generation_id = g.id and a.outcome = 'succeeded'
             where g.kind = 'answer' and g.created_at >= %s group by g.id
            """,
            (ours.began,),
        ).fetchall()
    once = sum(status == "succeeded" and accepted == 1 for status, accepted in counted)
    unseen = sum(o.finished_ms is None for o in ours.outcomes)
    return int(max(expected - once, len(counted) - once, unseen))


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=20.0, help="rows a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long rows are inserted")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
