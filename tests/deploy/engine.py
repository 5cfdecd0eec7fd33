"""A container engine and the compose project of this repository on it."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

TOOL = REPOSITORY.parent / "shared" / "tools" / "container-engine"  # installs and starts one, where it is there
STATE = REPOSITORY / ".engine"


@dataclass(frozen=True, slots=True)
class Engine:
    """`environment` is what docker and compose need to find it."""

    environment: Mapping[str, str]

    def docker(self, *arguments: str) -> str:
        return run(["docker", *arguments], self.environment)

    def gateway(self) -> str:
        """The address of this machine as containers see it."""
        asked = ("run", "--rm", "--add-host", "here:host-gateway", "valkey/valkey:8", "getent", "hosts", "here")
        return self.docker(*asked).split()[0]


@contextmanager
def engine_here() -> Iterator[Engine]:
    """The engine that runs here, else one that the tool starts, for the block; else the test is skipped."""
    if is_running(os.environ):
        yield Engine(os.environ)
        return
    if not TOOL.exists():
        pytest.skip("no container engine: `docker info` fails")
    if os.geteuid() != 0:
        pytest.skip("no container engine: `docker info` fails, and starting one needs root")
    started = subprocess.run([TOOL, "up", STATE], capture_output=True, text=True, check=False)
    if started.returncode:
        pytest.skip(f"no container engine: it could not be started: {started.stderr.strip()[-300:]}")
    try:
        host = started.stdout.strip().rpartition("=")[2]
        yield Engine({**os.environ, "DOCKER_HOST": host})
    finally:
        subprocess.run([TOOL, "down", STATE], capture_output=True, check=True)


def is_running(environment: Mapping[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False)
    return asked.returncode == 0


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    service: str
    status: str  # starting, healthy, unhealthy; exited


@dataclass(frozen=True, slots=True)
class Compose:
    """docker-compose.yml of this repository under a name of its own."""

    engine: Engine
    project: str
    override: Path
    variables: Mapping[str, str]

    async def up(self, *arguments: str) -> None:
        await asyncio.to_thread(self.run, "up", "--detach", "--build", *arguments)

    async def down(self) -> None:
        await asyncio.to_thread(self.run, "down", "--volumes", "--timeout", "5")

    def run(self, *arguments: str) -> str:
        files = ("--file", str(REPOSITORY / "docker-compose.yml"), "--file", str(self.override))
        environment = {**self.engine.environment, **self.variables}
        command = [*compose_command(self.engine.environment), "--project-name", self.project, *files, *arguments]
        return run(command, environment)

    def containers(self) -> list[Container]:
        label = f"label=com.docker.compose.project={self.project}"
        ids = self.engine.docker("ps", "--all", "--quiet", "--filter", label).split()
        found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return [
            Container(
                one["Id"],
                one["Config"]["Labels"]["com.docker.compose.service"],
                one["State"]["Health"]["Status"] if one["State"]["Running"] else one["State"]["Status"],
            )
            for one in found
        ]

    def of(self, service: str) -> list[Container]:
        return [container for container in self.containers() if container.service == service]


def compose_command(environment: Mapping[str, str]) -> list[str]:
    """Compose v2, else docker-compose 1.29."""
    asked = subprocess.run(["docker", "compose", "version"], env=environment, capture_output=True, check=False)
    return ["docker", "compose"] if asked.returncode == 0 else ["docker-compose"]


def run(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
