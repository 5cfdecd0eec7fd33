"""The text of one attempt on its way to the client: deltas at once, a checkpoint now and then."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from jobs.decisions.streaming import safe_prefix, utf16_length
from jobs.errors import AttemptLost, Retryable
from jobs.ports import Work
from worker.ports import Broadcast, Broadcasted, Checkpoint, Rows

KEY_FRAME_UNITS = 400  # a text up to this long is sent whole each time


class AttemptStream:
    """`jobs.ports.AnswerStream` for one attempt.

    A delta says where it starts, in UTF-16 code units: a client that has less has a gap and reads the checkpoint; one
    that has more truncates. Some deltas repeat the text from its start, as key frames do: while it is short, and
    whenever it has doubled. So a client whose subscription came up late, or that lost a message, is whole again without
    a read, and all of them together at most triple the bytes. Text that may still turn out unsafe (half a link) waits
    for its rest.
    """

    def __init__(
        self,
        work: Work,
        rows: Rows,
        broadcast: Broadcast,
        *,
        checkpoint_every_s: float,
        now: Callable[[], datetime],
        monotonic_s: Callable[[], float],
    ) -> None:
        self.first_token_at: datetime | None = None
        self.first_text_after_s: float | None = None  # since the attempt began
        self._work = work
        self._rows = rows
        self._broadcast = broadcast
        self._every_s = checkpoint_every_s
        self._now = now
        self._monotonic_s = monotonic_s
        self._sent: list[str] = []
        self._held = ""
        self._offset = 0
        self._key_frame = 0
        self._began_s = self._checkpointed_s = monotonic_s()
        self._checkpoint: asyncio.Task[bool] | None = None

    @property
    def sent(self) -> str:
        """What clients were sent."""
        return "".join(self._sent)

    async def write(self, text: str) -> None:
        """Raises AttemptLost when a checkpoint found that the row is no longer this attempt's."""
        if self.first_token_at is None:
            self.first_token_at = self._now()
            self.first_text_after_s = self._monotonic_s() - self._began_s
        self._held += text
        safe = safe_prefix(self._held)
        self._held = self._held[len(safe) :]
        await self._send(safe)
        self._collect_checkpoint()
        if self._checkpoint is None and self._monotonic_s() - self._checkpointed_s >= self._every_s:
            self._begin_checkpoint()

    async def close(self) -> None:
        """Sends what was held back. The row's own update will carry the whole text, so no last checkpoint is taken."""
        await self._send(self._held)
        self._held = ""

    def abandon(self) -> None:
        """Ends a checkpoint that is still under way: the attempt is settled, or lost."""
        if self._checkpoint is not None:
            self._checkpoint.cancel()

    async def _send(self, text: str) -> None:
        if not text:
            return
        start = self._offset
        self._sent.append(text)
        self._offset += utf16_length(text)
        if self._offset <= KEY_FRAME_UNITS or self._offset >= 2 * self._key_frame:
            start, text, self._key_frame = 0, self.sent, self._offset
        payload = {"attempt": self._work.attempt, "offset": start, "text": text}
        await self._broadcast.send(Broadcasted(f"generation:{self._work.id}", "delta", payload))

    def _begin_checkpoint(self) -> None:
        partial = Checkpoint(self._work.id, self._work.attempt, self.sent)
        self._checkpoint = asyncio.create_task(self._rows.checkpoint(partial))
        self._checkpointed_s = self._monotonic_s()

    def _collect_checkpoint(self) -> None:
        if self._checkpoint is None or not self._checkpoint.done():
            return
        done, self._checkpoint = self._checkpoint, None
        try:
            still_ours = done.result()
        except Retryable:  # a checkpoint is a convenience: the next one brings more
            return
        if not still_ours:
            raise AttemptLost("a checkpoint was not accepted")
