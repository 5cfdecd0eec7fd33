"""A generation as a watching client sees it: deltas, snapshots and the finished row make one text, without a gap.

Pure. Messages may be lost, doubled, late or out of order; the attempt and the offset of each say what it is worth.
"""

from dataclasses import dataclass, replace

TERMINAL = frozenset({"succeeded", "failed", "refused", "review", "canceled"})


@dataclass(frozen=True, slots=True)
class Transcript:
    """`text` is complete from its start; `has_gap`: something is missing behind it, which a snapshot will bring."""

    attempt: int = 0
    text: str = ""
    has_gap: bool = False
    status: str = "queued"

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL

    def with_delta(self, attempt: int, offset: int, text: str) -> "Transcript":
        """`offset` counts UTF-16 code units. Text of an older attempt is worth nothing; a newer one starts afresh."""
        if self.is_finished or attempt < self.attempt:
            return self
        base = self if attempt == self.attempt else Transcript(attempt=attempt, status="running")
        units = base.text.encode("utf-16-le")
        if 2 * offset > len(units):
            return replace(base, has_gap=True)
        if 2 * offset + len(text.encode("utf-16-le")) < len(units):
            return base  # an old message: what it says is known
        whole = units[: 2 * offset].decode("utf-16-le", "surrogatepass") + text
        return replace(base, text=whole, has_gap=False, status="running")

    def with_snapshot(self, attempt: int, status: str, partial: str | None, answer: str | None) -> "Transcript":
        """A read of the row and of its current attempt's checkpoint. An ended row is the last word."""
        if status in TERMINAL:
            return Transcript(attempt, answer or "", has_gap=False, status=status)
        if attempt < self.attempt or self.is_finished:
            return self
        known = self.text if attempt == self.attempt else ""
        gap = self.has_gap if attempt == self.attempt else False
        if partial is not None and len(partial) > len(known):
            return Transcript(attempt, partial, has_gap=False, status=status)
        return Transcript(attempt, known, has_gap=gap, status=status)
