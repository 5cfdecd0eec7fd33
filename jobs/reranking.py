"""The passages of a prompt: fused from both searches, and put in order by a reranker where there is one."""

from collections.abc import Sequence

import structlog

from jobs.decisions.chunking import embedding_text
from jobs.decisions.fusion import Ranked, fuse
from jobs.decisions.pricing import most_tokens, most_usd
from jobs.decisions.reranking import reorder
from jobs.errors import AttemptLost, JobError
from jobs.ports import Context, Opening, Reranker, World

MOST_READ = 24  # passages that a reranker reads, or as many as the prompt may hold

log = structlog.get_logger()


async def best_passages(context: Context, question: str, world: World) -> tuple[Ranked, ...]:
    """As many as the configuration lets into a prompt, best first."""
    most = world.retrieving.passages
    found = fuse(
        context.candidates,
        question=question,
        limit=max(MOST_READ, most) if world.reranker else most,
        word_shares=context.word_shares,
        words_weight=world.retrieving.words_weight,
    )
    return await reranked(found, question, world, limit=most)


async def reranked(found: Sequence[Ranked], question: str, world: World, *, limit: int) -> tuple[Ranked, ...]:
    """At most `limit` of them, best first: by the reranker's reading, or as they were found.

    An answer from passages in a worse order is better than none, so whatever keeps the reranker from reading, a budget
    included, is no error of the row. Its circuit is its own: a slow reranker says nothing of its provider's chat.
    """
    reranker = world.reranker
    if reranker is None or len(found) < 2:
        return tuple(found[:limit])
    circuit = f"{reranker.name.provider}/{reranker.name.model}"
    if not await world.circuits.admits(circuit):
        return tuple(found[:limit])
    try:
        scores = await _read(found, question, reranker, world)
    except AttemptLost:
        raise
    except JobError as error:
        await world.circuits.record(circuit, error.code)
        log.warning("rerank.skipped", code=error.code)
        return tuple(found[:limit])
    await world.circuits.record(circuit, None)
    return reorder(found, scores, limit=limit)


async def _read(found: Sequence[Ranked], question: str, reranker: Reranker, world: World) -> Sequence[float]:
    texts = [embedding_text(p.candidate.title, p.candidate.heading_path, p.candidate.content) for p in found]
    # The question is read with each passage, and billed so by some.
    tokens = most_tokens(texts) + len(texts) * most_tokens([question])
    most = most_usd(world.reranker_price, tokens_in=tokens, tokens_out=0)
    async with world.ledger.call(Opening("rerank", reranker.name, reserved_usd=most)) as call:
        reading = await reranker.rerank(question, texts, call.id)
        if reading.usage is not None:
            call.used(reading.usage)
    return reading.scores
