from collections.abc import Sequence

from worker.ports import Hint


class MemoryCancels:
    """`worker.ports.Cancels` that keeps what was announced."""

    def __init__(self) -> None:
        self.announced: list[Hint] = []

    async def announce(self, hints: Sequence[Hint]) -> None:
        self.announced += hints
