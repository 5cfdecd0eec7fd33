"""An embedded stack that leaves nothing behind."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import StackConfig

PROJECT = Path(__file__).resolve().parents[1]
PARTS = frozenset({"valkey", "models", "pg_net", "realtime", "intake"})
ACCOUNT = {"email": "bench@example.com", "password": "what a bench needs no more than once"}


@contextmanager
def temporary_stack(*, workers: int = 0, parts: frozenset[str] = PARTS) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="rowcall-bench-") as folder:
        state = Path(folder) / "state"
        try:
            with Stack(StackConfig(state, PROJECT, parts=parts, workers=workers)) as stack:
                yield stack
        finally:
            reset_state(state)
