"""What the server did, for tests that compare it with what the other side recorded. No text of a prompt is in it."""

import hashlib
import secrets
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from worker.local.model_server.faults import Endpoint

MOST_RECORDS = 100_000

Outcome = Literal["finished", "aborted", "cut", "failed"]


@dataclass(slots=True)
class Record:
    """One request, filled in while it is served. Times are seconds since 1970.

    `request_id` is the header `x-request-id`, `completion_id` the id in the answer to a chat. `outcome` is None while
    it runs; `aborted`: the client went away; `cut`: a fault ended the connection; `failed`: a bug. `status` is None
    until an answer begins. `chunks` counts those with text, `completion_tokens` the tokens that were sent.
    """

    endpoint: Endpoint
    client_request_id: str | None
    request_id: str = field(default_factory=lambda: f"req_{secrets.token_hex(12)}")
    completion_id: str | None = None
    started_at: float = field(default_factory=time.time)
    first_chunk_at: float | None = None
    finished_at: float | None = None
    model: str | None = None
    stream: bool = False
    prompt_sha256: str | None = None
    fault: str | None = None
    status: int | None = None
    chunks: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int = 0
    finish_reason: str | None = None
    outcome: Outcome | None = None

    def note_request(self, model: str, text: str) -> None:
        self.model = model
        self.prompt_sha256 = hashlib.sha256(text.encode()).hexdigest()

    def note_chunk(self) -> None:
        self.chunks += 1
        self.completion_tokens += 1
        self.first_chunk_at = self.first_chunk_at or time.time()

    def end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.finished_at = time.time()


class Journal:
    """The last requests, in the order in which they came."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=MOST_RECORDS)

    def open(self, record: Record) -> None:
        self._records.append(record)

    def clear(self) -> None:
        self._records.clear()

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(record) for record in self._records]
