"""The model server as a process of its own, and the hands that tests lay on it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI

from tests.waiting import until
from worker.local.ports import free_port

REPOSITORY = Path(__file__).parents[3]
AT_ONCE = ("--first-token-ms", "0", "--tokens-per-s", "inf")


@dataclass(frozen=True, slots=True)
class ModelServer:
    process: subprocess.Popen[bytes]
    control: httpx.Client  # one for all calls: a new one reads the certificates each time

    @property
    def url(self) -> str:
        """What OpenAI's client calls its base URL."""
        return str(self.control.base_url.join("/v1"))

    def client(self, timeout_s: float = 30.0) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.url, api_key="local", max_retries=0, timeout=timeout_s)

    def fail(self, fault: Mapping[str, Any], *, times: int | str = 1, **match: str) -> None:
        """Brings a fault to the next requests that match (endpoint, model, contains)."""
        rule = {"match": match, "times": times, "fault": fault}
        self.control.post("/control/faults", json=[rule]).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """The rules that are left."""
        rules: list[dict[str, Any]] = self.control.get("/control/faults").raise_for_status().json()
        return rules

    def log(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.control.get("/control/log").raise_for_status().json()
        return records

    def last(self) -> dict[str, Any]:
        """The latest record."""
        return self.log()[-1]

    def forget(self) -> None:
        """No faults, no log: as after the start."""
        self.control.delete("/control/faults").raise_for_status()
        self.control.delete("/control/log").raise_for_status()


@contextmanager
def running_model_server(*options: str) -> Iterator[ModelServer]:
    """Listening when it is handed out; its end is the end of the block, or of this process."""
    port = free_port()
    command = (sys.executable, "-m", "worker.local.child", "worker.local.model_server", "--port", str(port), *options)
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, cwd=REPOSITORY) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as control,
    ):
        if process.stdin is None:
            raise AssertionError("a child has a pipe")
        process.stdin.write(b"\n")
        process.stdin.flush()
        server = ModelServer(process, control)
        try:
            until(lambda: process.poll() is not None or _is_healthy(server), "the model server listens")
            yield server
        finally:
            process.stdin.close()


def _is_healthy(server: ModelServer) -> bool:
    try:
        return server.control.get("/healthz").is_success
    except httpx.ConnectError:
        return False
