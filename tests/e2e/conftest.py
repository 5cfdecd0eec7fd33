from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.forwarding import Forward, forwarding
from worker.client import Rowcall
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import ALL_PARTS, StackConfig

LEASE_S = 3.0


# Filled by a Database Webhook of the dashboard (test_automations.py).
TABLES = """
[tables."public.reviews"]
column = "summary"
template = "Summarize in one sentence: {{body}}"
owner = "user_id"
"""


@pytest.fixture(scope="session")
def rowcall_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything that `rowcall dev` runs, with one worker whose leases are short."""
    project = tmp_path_factory.mktemp("project")
    (project / "supabase").symlink_to(REPOSITORY / "supabase")
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    (project / "rowcall.toml").write_text(shipped.replace("lease_s = 15.0 ", f"lease_s = {LEASE_S} ") + TABLES)
    config = StackConfig(tmp_path_factory.mktemp("rowcall"), project, parts=ALL_PARTS, workers=1)
    with Stack(config) as running:
        yield running
    reset_state(config.state_dir)


@pytest.fixture
async def rowcall(rowcall_stack: Stack) -> AsyncIterator[Rowcall]:
    """The client of a user of their own, who has ingested one document."""
    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse"}
    async with Rowcall.signed_in(rowcall_stack.url, rowcall_stack.publishable_key, sign_up=True, **account) as client:
        [document] = await client.put_documents([{"source": "swallows.md", "content": SWALLOWS}])
        ended = await client.wait_all([document["generation_id"]], poll_s=0.1)
        assert ended[document["generation_id"]]["status"] == "succeeded"
        yield client


@pytest.fixture
async def line(rowcall_stack: Stack) -> AsyncIterator[Forward]:
    """The client's only way to the project."""
    port = httpx.URL(rowcall_stack.url).port
    assert port is not None
    async with forwarding(port) as line:
        yield line


@dataclass(frozen=True, slots=True)
class Model:
    """The local model's control interface."""

    http: httpx.AsyncClient

    async def slow(self, between_tokens_s: float) -> None:
        """Every answer, from now on."""
        await self.fail({"kind": "slow", "between_tokens_s": between_tokens_s}, times="always")

    async def fail(self, *faults: dict[str, Any], times: int | str = 1) -> None:
        """The next answers, one fault each."""
        rules = [{"match": {"endpoint": "chat"}, "times": times, "fault": fault} for fault in faults]
        (await self.http.post("/control/faults", json=rules)).raise_for_status()

    async def answers(self) -> list[dict[str, Any]]:
        """The log's entries of chat completions, in order."""
        entries = (await self.http.get("/control/log")).json()
        return [entry for entry in entries if entry["endpoint"] == "chat"]


@pytest.fixture
async def model(rowcall_stack: Stack) -> AsyncIterator[Model]:
    """Its log begins, and its faults end, with the test."""
    async with httpx.AsyncClient(base_url=rowcall_stack.model_url.removesuffix("/v1"), timeout=30) as http:
        await http.delete("/control/log")
        yield Model(http)
        await http.delete("/control/faults")


SWALLOWS = """# Swallows

## Speed

The airspeed velocity of an unladen European swallow is about eleven metres per second. An African swallow is faster.

## Coconuts

A swallow cannot carry a coconut: a bird of five ounces does not lift a pound.
Two swallows could share a strand of creeper.
"""
