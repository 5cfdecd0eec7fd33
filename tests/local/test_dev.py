import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.conftest import REPOSITORY

DEV = """
import sys
from pathlib import Path
from rich.console import Console
from worker.local.dev import run_dev
from worker.local.wiring import StackConfig

config = StackConfig(Path(sys.argv[1]), Path(sys.argv[2]), parts=frozenset({"valkey"}))
sys.exit(run_dev(config, Console()))
"""


class Dev:
    """`rowcall dev` in a process of its own, its output so far, and its end."""

    def __init__(self, state_dir: Path, project: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEV, str(state_dir), str(project)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )

    def output_until(self, text: str) -> str:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                break
        assert text in "".join(lines), lines
        return "".join(lines)

    def end(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        with self.process.stdout as rest:
            return self.process.wait(30), rest.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_dev_shows_parts_and_keys_and_ends_well_when_asked_to(
    state_dir: Path, project: Path, number: signal.Signals
) -> None:
    dev = Dev(state_dir, project)
    output = dev.output_until("Ctrl-C")
    for part in ("postgres", "gateway", "migrations", "valkey"):
        assert f" s  {part}\n" in output
    assert "createClient('http://127.0.0.1:" in output
    dev.process.send_signal(number)
    exit_code, output = dev.end()
    assert exit_code == 0
    assert output.endswith("\nstopped\n")


def test_dev_fails_when_a_part_dies(state_dir: Path, project: Path) -> None:
    dev = Dev(state_dir, project)
    found = re.search(r"redis +(\S+)", dev.output_until("Ctrl-C"))
    assert found is not None
    with redis.Redis.from_url(found[1]) as connection:
        connection.shutdown()
    exit_code, output = dev.end()
    assert exit_code == 1
    assert "valkey ended with exit code 0. The end of its log:" in output
    assert "User requested shutdown" in output


def test_dev_fails_with_a_reason_when_a_migration_does(state_dir: Path, project: Path) -> None:
    (project / "supabase" / "migrations" / "20260102000000_broken.sql").write_text("select missing;")
    exit_code, output = Dev(state_dir, project).end()
    assert exit_code == 1
    assert '20260102000000_broken.sql:1: column "missing" does not exist' in output
