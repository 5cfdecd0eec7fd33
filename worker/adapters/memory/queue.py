import time
from collections.abc import Callable, Sequence

from worker.ports import Backlog, Hint, LaneBacklog, QueueUnavailable

Key = tuple[str, int]


class MemoryQueue:
    """`worker.ports.Queue`, with the other end: `take` what is due, and say when it is `done`.

    A hint is the same while it waits or runs if it has the same id and attempt: a row that is sent back while its
    attempt is still being wound up is another one. `available = False` makes it an outage.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.available = True
        self._monotonic_s = monotonic_s
        self._waiting: dict[Key, tuple[float, Hint]] = {}  # with the moment from which it is due
        self._running: dict[Key, Hint] = {}

    async def enqueue(self, hints: Sequence[Hint], *, wait_s: float = 0.0) -> int:
        self._require()
        due_s = self._monotonic_s() + wait_s
        before = len(self._waiting)
        for hint in hints:
            if key_of(hint) not in self._running:
                self._waiting.setdefault(key_of(hint), (due_s, hint))
        return len(self._waiting) - before

    async def depth(self) -> int:
        self._require()
        return len(self._waiting) + len(self._running)

    async def probe(self) -> int:
        return await self.depth()

    async def backlog(self) -> Backlog:
        self._require()
        now_s = self._monotonic_s()
        ready = [(due_s, hint) for due_s, hint in self._waiting.values() if due_s <= now_s]

        def lane_of(name: str) -> LaneBacklog:
            since = [due_s for due_s, hint in ready if hint.lane == name]
            running = sum(hint.lane == name for hint in self._running.values())
            return LaneBacklog(name, len(since), now_s - min(since, default=now_s), running, None)

        return Backlog(len(self._waiting) - len(ready), (lane_of("interactive"), lane_of("bulk")))

    async def take(self, max_hints: int) -> tuple[Hint, ...]:
        """What is due, oldest first; it runs until it is done."""
        self._require()
        now_s = self._monotonic_s()
        due = sorted((entry for entry in self._waiting.values() if entry[0] <= now_s), key=lambda entry: entry[0])
        taken = tuple(hint for _, hint in due[:max_hints])
        for hint in taken:
            del self._waiting[key_of(hint)]
            self._running[key_of(hint)] = hint
        return taken

    async def done(self, hint: Hint) -> None:
        self._running.pop(key_of(hint), None)

    def _require(self) -> None:
        if not self.available:
            raise QueueUnavailable("the queue is switched off")


def key_of(hint: Hint) -> Key:
    return hint.id, hint.attempt
