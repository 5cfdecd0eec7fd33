import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from worker.local.errors import PartDied, StackError
from worker.local.processes import Child, Children, Command

# Says when it is imported and when it is run, with which arguments, and whether it was asked to end.
PART = """
import signal, sys, time
from pathlib import Path

def note(line):
    with Path("notes").open("a") as notes:
        notes.write(line + "\\n")

def ended(*_):
    note("asked to end")
    sys.exit(0)

def main():
    signal.signal(signal.SIGTERM, ended)
    note("runs " + " ".join(sys.argv))
    while True:
        time.sleep(0.01)

note("imported")
"""


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path) as running:
        yield running


def started(children: Children, folder: Path) -> Child:
    (folder / "part.py").write_text(PART)
    arguments = (sys.executable, "-m", "worker.local.child", "part", "--port", "1")
    return children.spawn("part", Command(arguments, folder=folder))


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def test_a_part_loads_at_once_and_runs_when_it_is_let_go(children: Children, tmp_path: Path) -> None:
    child = started(children, tmp_path)
    until(lambda: notes(tmp_path) == ["imported"], "it is imported")
    child.let_go()
    until(lambda: notes(tmp_path)[1:] == ["runs part --port 1"], "it runs")
    child.stop(grace_s=10)
    assert notes(tmp_path)[2:] == ["asked to end"]


def test_a_part_that_is_never_let_go_ends_with_its_supervisor(children: Children, tmp_path: Path) -> None:
    child = started(children, tmp_path)
    until(lambda: notes(tmp_path) == ["imported"], "it is imported")
    child.stop(grace_s=10)
    assert not child.running
    assert notes(tmp_path) == ["imported"]


def test_the_end_of_the_supervisors_pipe_asks_a_running_part_to_end(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(PART)
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.local.child", "part"], stdin=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    until(lambda: len(notes(tmp_path)) == 2, "it runs")
    process.stdin.close()
    assert process.wait(30) == 0
    assert notes(tmp_path)[2:] == ["asked to end"]


def test_a_part_that_ignores_the_request_is_killed(children: Children, tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    child = children.spawn("stubborn", Command((sys.executable, "-c", stubborn), folder=tmp_path))
    until(lambda: child.log_tail() == "deaf", "it is deaf")
    child.stop(grace_s=0.1)
    assert not child.running


def test_a_child_that_ends_by_itself_is_reported_with_the_end_of_its_log(children: Children, tmp_path: Path) -> None:
    failing = "import sys; print(*range(100), sep='\\n'); sys.exit(3)"
    child = children.spawn("failing", Command((sys.executable, "-c", failing), folder=tmp_path))
    until(lambda: not child.running, "it has ended")
    with pytest.raises(PartDied, match="failing ended with exit code 3") as death:
        child.check()
    assert death.value.log_tail.splitlines() == [str(n) for n in range(80, 100)]
    with pytest.raises(PartDied):
        child.let_go()


def test_what_is_left_behind_ends_with_the_group(tmp_path: Path) -> None:
    # A child's own child, which the supervisor does not know.
    nested = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    with Children(tmp_path) as children:
        child = children.spawn("nested", Command((sys.executable, "-c", nested), folder=tmp_path))
        until(lambda: child.log_tail().isdigit(), "it has a child")
        grandchild = int(child.log_tail())
        assert os.getpgid(grandchild) == os.getpgid(child.pid)
        child.kill()
    until(lambda: not running(grandchild), "the grandchild has ended")


def running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_without_a_watchdog_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="watchdog"):
        Children(tmp_path).spawn("early", Command(("true",)))
