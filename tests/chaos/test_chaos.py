"""The short form of bench/chaos.py; and that it fails when a part of the protocol is taken out."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY

MINUTES = 5 * 60  # only a broken system takes so long


def chaos(*options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report."""
    command = [sys.executable, str(REPOSITORY / "bench" / "chaos.py"), "--json", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES, check=False)
    assert ran.stdout, ran.stderr[-3000:]
    report: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, report


def missed(report: dict[str, Any]) -> dict[str, list[str]]:
    return {check["claim"]: check["misses"] for check in report["checks"] if check["misses"]}


@pytest.mark.timeout(MINUTES)
def test_nothing_is_lost_nor_answered_twice_while_everything_goes_wrong() -> None:
    code, report = chaos("--faults", "24", "--seed", "1")
    assert missed(report) == {}
    assert code == 0
    assert report["faults"] == 24
    assert len(report["kinds"]) > 15
    assert report["rows"] > 8
    assert report["repeated_calls"] > 0


@pytest.mark.slow
@pytest.mark.timeout(MINUTES)
@pytest.mark.parametrize(
    ("part", "patience_s", "claim"),
    [
        ("fence", 60, "each visible answer is from one attempt"),
        ("sweeper", 15, "every row ended"),  # they never do
        ("renewal", 60, "no row was taken from a worker that lived"),
    ],
)
def test_it_fails_without(part: str, patience_s: int, claim: str) -> None:
    code, report = chaos("--faults", "6", "--patience", str(patience_s), "--without", part)
    assert code == 1
    assert any(told.startswith(claim) for told in missed(report)), missed(report)
