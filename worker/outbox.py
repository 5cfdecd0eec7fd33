"""Messages to clients between their making and their sending: merged, rationed, cut into requests. Pure."""

import json
from collections import deque
from dataclasses import dataclass

from jobs.decisions.streaming import utf16_length
from worker.ports import Broadcasted
from worker.storable import storable

ROUNDING = 1e-6  # of tokens: a wait of exactly the missing share must end the wait
ENVELOPE_BYTES = 160  # around a message in a request: `{"messages":[]}`, keys, quotes, `private`


@dataclass(slots=True)
class Pending:
    message: Broadcasted
    size_bytes: int


class Outbox:
    """Messages that wait, in order. A delta that continues or replaces the last one of its topic becomes one with it.

    Clients see the two at the same moment either way; one message costs half of the quota.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Pending] = deque()
        self._last: dict[str, Pending] = {}  # of each topic

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Broadcasted) -> None:
        added = Pending(message, size_of(message))
        last = self._last.get(message.topic)
        merged = None if last is None else merge(last.message, message)
        if last is not None and merged is not None:
            size_bytes = added.size_bytes if merged is message else last.size_bytes + added.size_bytes
            if size_bytes <= self._max_bytes:
                last.message, last.size_bytes = merged, size_bytes
                return
        self._waiting.append(added)
        self._last[message.topic] = added

    def take(self, max_messages: int) -> tuple[Broadcasted, ...]:
        """The first messages, as many as are allowed and fit into one request; a larger one goes alone."""
        taken: list[Pending] = []
        room = self._max_bytes
        while self._waiting and len(taken) < max_messages:
            if taken and self._waiting[0].size_bytes > room:
                break
            first = self._waiting.popleft()
            room -= first.size_bytes
            taken.append(first)
            if self._last[first.message.topic] is first:
                del self._last[first.message.topic]
        return tuple(pending.message for pending in taken)


@dataclass(slots=True)
class Budget:
    """A token bucket: `per_s` messages a second on average, no more than a second's worth at once."""

    per_s: float
    tokens: float
    at_s: float

    def available(self, now_s: float) -> int:
        self.tokens = min(max(self.per_s, 1.0), self.tokens + self.per_s * max(0.0, now_s - self.at_s))
        self.at_s = now_s
        return int(self.tokens + ROUNDING)

    def spend(self, messages: int) -> None:
        self.tokens -= messages

    def wait_s(self) -> float:
        """Seconds from `at_s` until a message may be sent."""
        return max(0.0, (1.0 - self.tokens) / self.per_s)


def merge(first: Broadcasted, second: Broadcasted) -> Broadcasted | None:
    """One delta for two of the same attempt; None: they stay two.

    The second continues the first, or begins no later, as a key frame does, and so replaces all that the first brought.
    """
    if not (first.topic == second.topic and first.event == second.event == "delta"):
        return None
    attempt, offset, text = (first.payload[name] for name in ("attempt", "offset", "text"))
    if second.payload["attempt"] != attempt:
        return None
    if second.payload["offset"] <= offset:
        return second
    if second.payload["offset"] != offset + utf16_length(text):
        return None
    payload = {"attempt": attempt, "offset": offset, "text": text + second.payload["text"]}
    return Broadcasted(first.topic, "delta", payload)


def encode(messages: tuple[Broadcasted, ...]) -> bytes:
    """The body of a request to Realtime."""
    rows = [{"topic": m.topic, "event": m.event, "payload": storable(m.payload), "private": True} for m in messages]
    return json.dumps({"messages": rows}, ensure_ascii=False, separators=(",", ":")).encode()


def size_of(message: Broadcasted) -> int:
    """An upper bound of its bytes in a request: escaped as ASCII, what it holds only grows."""
    return ENVELOPE_BYTES + len(json.dumps([message.topic, message.event, message.payload]))
