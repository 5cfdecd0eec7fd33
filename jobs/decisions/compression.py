"""Passages cut down to what the question needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.decisions.fusion import Ranked


@dataclass(frozen=True, slots=True)
class Passage:
    """What the prompt shows of a chunk."""

    chunk_id: int
    document_id: str
    title: str
    source: str | None
    heading_path: tuple[str, ...]
    text: str
    tokens: int
    score: float  # 0 to 1


def compress(
    passages: Sequence[Ranked], question: str, *, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Passage, ...]:
    """Passages within the budget, best first."""
    kept: list[Passage] = []
    for ranked in passages:
        c = ranked.candidate
        tokens = count_tokens(ranked.content)
        if sum(p.tokens for p in kept) + tokens > budget_tokens:
            break
        kept.append(
            Passage(c.chunk_id, c.document_id, c.title, c.source, c.heading_path, ranked.content, tokens, ranked.score)
        )
    return tuple(kept)
