"""What stood behind an answer, in numbers: for the line that ends an attempt, without a word of it."""

from collections.abc import Sequence

from jobs.decisions.compression import Passage
from jobs.decisions.fusion import Ranked
from jobs.ports import Context


def noted(context: Context, ranked: Sequence[Ranked], passages: Sequence[Passage]) -> dict[str, int]:
    """Of retrieval, compression, few-shot and cache. Tokens are those of texts, without titles and headings."""
    return {
        "candidates": len(context.candidates),
        "counted_words": len(context.word_shares),
        "ranked": len(ranked),
        "context_tokens": sum(passage.candidate.tokens for passage in ranked),
        "passages": len(passages),
        "passage_tokens": sum(passage.tokens for passage in passages),
        "examples": len(context.examples),
        "cached_candidates": len(context.cached),
    }
