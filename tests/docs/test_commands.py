"""What README and tutorials say to type is typed, in a clean copy of the repository, and shows what they say it shows.

A block ```console holds lines `$ command` and what they print. Figures may differ; a line `…` stands for any lines.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from worker.local.ports import free_port

PAGES = ("README.md", "docs/operating.md", "docs/tutorials/ask-your-documents.md", "docs/tutorials/your-own-job.md")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"
START_S = 90.0
ACTIVATE = ". .venv/bin/activate"
SERVES = "make dev"


@dataclass(frozen=True, slots=True)
class Command:
    line: str
    shows: tuple[str, ...]


def commands(page: str) -> Iterator[Command]:
    for block in BLOCK.findall((REPOSITORY / page).read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *shows = part.splitlines()
            yield Command(line, tuple(s for s in shows if s not in {"", ANYTHING}))


def shape(line: str) -> str:
    """The line without figures and spacing."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]*\d", "#", line)).strip()


def assert_shows(command: Command, output: str) -> None:
    """Its lines are among those printed, in that order."""
    printed = iter([shape(line) for line in output.splitlines()])
    for wanted in command.shows:
        assert shape(wanted) in printed, f"{command.line} did not print {wanted!r}:\n{output}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is in the repository, beside the installed packages."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tmp_path / name)  # with its time: make compares them
    for installed in (".venv", "worker/local/node_modules"):
        if not (REPOSITORY / installed).exists():
            pytest.skip(f"{installed} is not here: make install")
        (tmp_path / installed).symlink_to(REPOSITORY / installed)
    return tmp_path


@pytest.fixture
def environment(checkout: Path) -> dict[str, str]:
    """A new user's: none of our variables, the copy's packages before the installed ones."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("SUPABASE_", "ROWCALL_", "OPENAI_", "REDIS_"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(checkout),
        "COLUMNS": "80",
        "ROWCALL_DEV_PORT": str(free_port()),
        "MAKEFLAGS": "",
    }


class Serving:
    """A command that runs until it is told to stop."""

    def __init__(self, command: Command, checkout: Path, environment: dict[str, str]) -> None:
        self.output = checkout / "serving.log"
        with self.output.open("w") as log:
            self.process = subprocess.Popen(  # noqa: S602 - a line for a shell, from our own page
                command.line, shell=True, cwd=checkout, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while "Ctrl-C" not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_says_to_type_shows_what_it_says(page: str, checkout: Path, environment: dict[str, str]) -> None:
    serving = None
    try:
        for command in commands(page):
            if command.line == ACTIVATE:
                continue
            if command.line == SERVES:
                serving = Serving(command, checkout, environment)
                assert_shows(command, serving.output.read_text())
                continue
            ran = subprocess.run(  # noqa: S602 - as above
                command.line, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, f"{command.line}\n{ran.stdout}{ran.stderr}"
            assert_shows(command, ran.stdout)
    finally:
        if serving is not None:
            serving.stop()


def test_every_page_has_commands_to_type() -> None:
    assert all(len(list(commands(page))) >= 3 for page in PAGES)
