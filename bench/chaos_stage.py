"""Where chaos plays: the embedded stack, workers that reach it through a proxy, and a model that can fail."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
from chaos_model import Model
from chaos_proxy import Proxy, proxying
from psycopg.rows import dict_row
from staging import PARTS, PROJECT

from worker.local.parts import WORKER, python_command
from worker.local.ports import free_port
from worker.local.processes import Child, Children
from worker.local.provisioning import keep_in_vault
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import WEBHOOK_PATH, StackConfig
from worker.serving import serving

LEASE_S = 3.0
GRACE_S = 1.0
WORKERS = 3
SLOW_S = 1.5 * LEASE_S
Without = Literal["nothing", "fence", "sweeper", "renewal"]

# Tries and losses without end: whatever ends a row early is then a finding, and not the policy.
CONFIGURATION = f"""
[worker]
concurrency = 10
lease_s = {LEASE_S}
grace_s = {GRACE_S}
checkpoint_every_s = 0.3
[sweeper]
interval_s = 0.5
grace_s = 0.5
[retries]
max_tries = 10000
max_losses = 10000
backoff_base_s = 0.05
backoff_cap_s = 0.5
[providers.local]
base_url = "http://127.0.0.1:1/v1"
api_key_env = "NO_KEY"
[embedding]
provider = "local"
model = "m"
[routes.default]
provider = "local"
model = "m"
max_output_tokens = 100
context_budget_tokens = 1000
first_token_timeout_s = 1.0
total_timeout_s = {SLOW_S + 4.0}
"""

# What is taken out, as a change of one function's source: (function, text, in its place).
SABOTAGE: dict[Without, tuple[str, str, str]] = {
    "fence": ("finish_generations_v4", "t.attempt = r.attempt and t.status = 'running'", "true"),
    "sweeper": ("due_generations_v1", "limit max_rows", "limit 0"),
    "renewal": ("renew_generations_v1", "set lease_until = now() + ", "set lease_until = a.lease_until + 0 * "),
}


class Fleet:
    """Worker processes. A spare one is always loaded, so that a replacement works at once."""

    def __init__(self, stack: Stack, children: Children, environment: dict[str, str]) -> None:
        self.workers: list[Child] = []
        self.started: list[Child] = []
        self._command = python_command(stack.wiring, WORKER, ("worker",), environment)
        self._children = children
        self._spare = self._load()

    def start(self) -> Child:
        worker, self._spare = self._spare, self._load()
        worker.let_go()
        self.workers.append(worker)
        return worker

    def working(self) -> list[Child]:
        """Those that have said that they began."""
        return [worker for worker in self.workers if b"worker.started" in worker.log.read_bytes()]

    def gone(self, worker: Child) -> None:
        """It is not to be hurt any more; whoever takes it away replaces it."""
        self.workers.remove(worker)

    def _load(self) -> Child:
        child = self._children.spawn(f"worker-{len(self.started) + 1}", self._command)
        self.started.append(child)
        return child

    async def drain(self, grace_s: float) -> None:
        """Everybody is told to stop, and has."""
        for worker in (*self.workers, self._spare):
            worker.ask_to_stop()
        await asyncio.gather(*(asyncio.to_thread(worker.stop, grace_s) for worker in (*self.workers, self._spare)))
        self.workers.clear()


@dataclass(frozen=True, slots=True)
class Stage:
    stack: Stack
    fleet: Fleet
    gateway: Proxy  # between the workers and the project
    webhooks: Proxy  # between the database and intake
    model: Model
    database: psycopg.AsyncConnection[dict[str, Any]]

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return await (await self.database.execute(query, values)).fetchall()

    async def valkey(self, *, keeps_data: bool) -> None:
        """Killed, and started again."""
        self.stack.kill("valkey")
        if not keeps_data:
            for kept in (self.stack.config.state_dir / "valkey").glob("appendonly*"):
                shutil.rmtree(kept)
        await asyncio.to_thread(self.stack.start, "valkey")


@asynccontextmanager
async def staged(seed: int, without: Without, logs: Path | None) -> AsyncIterator[Stage]:
    """`logs`: a folder to copy those of all processes into."""
    with tempfile.TemporaryDirectory(prefix="rowcall-chaos-") as folder:
        project, state = Path(folder) / "project", Path(folder) / "state"
        project.mkdir()
        (project / "supabase").symlink_to(PROJECT / "supabase")
        (project / "rowcall.toml").write_text(CONFIGURATION)
        try:
            with Stack(StackConfig(state, project, parts=PARTS - {"models"})) as stack:
                try:
                    async with _played(stack, seed, without) as stage:
                        yield stage
                finally:
                    if logs is not None:
                        shutil.copytree(stack.config.state_dir / "logs", logs, dirs_exist_ok=True)
        finally:
            reset_state(state)


@asynccontextmanager
async def _played(stack: Stack, seed: int, without: Without) -> AsyncIterator[Stage]:
    model, port = Model(seed, slow_s=SLOW_S), free_port()
    connecting = psycopg.AsyncConnection.connect(stack.admin_db_url, autocommit=True, row_factory=dict_row)
    async with (
        serving(model.application(), host="127.0.0.1", port=port, name="model"),
        proxying(stack.url) as gateway,
        proxying(stack.intake_url) as webhooks,
        await connecting as database,
    ):
        with psycopg.connect(stack.admin_db_url, autocommit=True) as connection:
            keep_in_vault(connection, "rowcall_webhook_url", webhooks.url + WEBHOOK_PATH)
            _take_out(connection, without)
        environment = stack.environment() | {
            "SUPABASE_URL": gateway.url,
            "ROWCALL_LOCAL_MODEL_URL": f"http://127.0.0.1:{port}/v1",
            "ROWCALL_LOG": "json",
        }
        with Children(stack.config.state_dir / "logs") as children:
            fleet = Fleet(stack, children, environment)
            for _ in range(WORKERS):
                fleet.start()
            yield Stage(stack, fleet, gateway, webhooks, model, database)


def _take_out(connection: psycopg.Connection[Any], without: Without) -> None:
    if without == "nothing":
        return
    function, text, instead = SABOTAGE[without]
    found = connection.execute("select pg_get_functiondef(%s::regproc)", (f"rowcall.{function}",)).fetchone()
    assert found is not None
    source: str = found[0]
    assert text in source, f"{function} does not say {text!r} any more"
    connection.execute(source.replace(text, instead).encode())
    if without == "fence":  # the second line of defence
        connection.execute("alter table rowcall.generations disable trigger generations_guard")
