"""The two workers that `e2e.py` compares, each as a process whose requests are counted."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Literal

import psycopg
from staging import PROJECT

from worker.local.ports import free_port, is_listening
from worker.local.processes import Child, Children, Command
from worker.local.stack import Stack
from worker.settings import LOCAL_CHAT_MODEL, LOCAL_EMBEDDING_MODEL

BENCH = PROJECT / "bench"
STOCK = BENCH / "stock"
START_TIMEOUT_S = 30.0
STOP_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Side:
    name: Literal["rowcall", "stock"]
    processes: Mapping[str, Child]  # "worker" is among them
    requests: Path  # counted.py's log

    def check(self) -> None:
        """Raises `PartDied`."""
        for child in self.processes.values():
            child.check()


@contextmanager
def rowcall_side(stack: Stack, children: Children) -> Iterator[Side]:
    """`rowcall worker`, one process, settings as shipped."""
    requests = stack.config.state_dir / "rowcall.requests"
    with _running(
        children, "rowcall-worker", _counted(requests, "worker.cli", "worker"), stack.environment()
    ) as worker:
        yield Side("rowcall", {"worker": worker}, requests)


@contextmanager
def stock_side(stack: Stack, children: Children, max_tokens: int) -> Iterator[Side]:
    """`arq stock_worker.WorkerSettings`, one process, arq's own settings; and the webhook's receiver."""
    requests, port = stack.config.state_dir / "stock.requests", free_port()
    environment = stack.environment() | {
        "OPENAI_BASE_URL": stack.model_url,
        "OPENAI_API_KEY": "local",
        "STOCK_REDIS_URL": stack.redis_url.removesuffix("/0") + "/1",
        "STOCK_SECRET": token_urlsafe(),
        "STOCK_MODEL": LOCAL_CHAT_MODEL,
        "STOCK_EMBEDDING_MODEL": LOCAL_EMBEDDING_MODEL,
        "STOCK_MAX_TOKENS": str(max_tokens),
        "STOCK_PROMPT": str(PROJECT / "jobs" / "prompts" / "answer.md"),
    }
    schema = (STOCK / "schema.sql").read_text()
    webhook = {"url": f"http://127.0.0.1:{port}/webhook", "secret": environment["STOCK_SECRET"]}
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(schema.format(**webhook).encode())
    intake = (sys.executable, str(STOCK / "stock_intake.py"), str(port))
    worker = _counted(requests, "arq", "stock_worker.WorkerSettings")
    with (
        _running(children, "stock-intake", intake, environment, listens=port) as intake_process,
        _running(children, "stock-worker", worker, environment) as worker_process,
    ):
        yield Side("stock", {"worker": worker_process, "intake": intake_process}, requests)


def _counted(requests: Path, module: str, *arguments: str) -> tuple[str, ...]:
    requests.touch()
    return (sys.executable, str(BENCH / "counted.py"), str(requests), module, *arguments)


@contextmanager
def _running(
    children: Children,
    name: str,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    listens: int | None = None,
) -> Iterator[Child]:
    folder = STOCK if name.startswith("stock") else PROJECT
    child = children.spawn(name, Command(arguments, environment, folder=folder))
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while listens is not None and not is_listening(listens):
            child.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} does not listen: {child.log_tail()}")
            time.sleep(0.05)
        yield child
        child.check()
    finally:
        child.stop(STOP_GRACE_S)
