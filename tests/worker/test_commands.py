"""What an ingest shows while it waits."""

import io

import pytest
from rich.console import Console

import worker.commands
from worker.commands import progress_bar
from worker.ingests import Progress


@pytest.mark.parametrize(("ended", "patience_s", "doubts"), [(0, 0.0, True), (0, 60.0, False), (1, 0.0, False)])
def test_a_bar_that_stands_still_asks_for_a_worker(
    monkeypatch: pytest.MonkeyPatch, *, ended: int, patience_s: float, doubts: bool
) -> None:
    monkeypatch.setattr(worker.commands, "PATIENCE_S", patience_s)
    shown = io.StringIO()
    with progress_bar(Console(file=shown, force_terminal=True, width=120)) as report:
        report(Progress(found=3, written=3, ended=ended))
        shown.truncate(0)  # what it showed before that
    assert ("does a worker run?" in shown.getvalue()) == doubts
