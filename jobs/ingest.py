"""A document → chunks → embeddings, a page at a time: what is written stays written when a worker dies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain

from jobs.decisions.chunking import Chunk, chunk, embedding_text
from jobs.decisions.reading import find_title, to_markdown
from jobs.decisions.units import unit_texts
from jobs.embedding import embed
from jobs.errors import Permanent
from jobs.ports import Finished, Json, NewChunk, Work, World

PAGE = 64  # chunks that are embedded and written together


async def ingest(work: Work, world: World) -> Finished:
    """The document's chunks, as they stand now. Chunks that did not change keep their ids and cost no embedding."""
    document = await world.knowledge.document(work)
    if document is None:
        raise Permanent("document.missing", "the document was deleted, or its owner may not read it")
    markdown = to_markdown(document.content, document.media_type)
    title = document.title or find_title(markdown, document.source)
    chunks = _numbered(chunk(markdown, count_tokens=world.count_tokens, title=title), {"title": title} if title else {})
    stored = {
        (c.content_hash, c.occurrence)
        for c in document.chunks
        if c.embedding_model == world.embedder.name.model and (c.has_units or not world.embeds_units)
    }

    embedded = 0
    for first in range(0, max(len(chunks), 1), PAGE):
        page = chunks[first : first + PAGE]
        fresh = [c for c in page if (c.content_hash, c.occurrence) not in stored]
        fresh_ones = {(c.content_hash, c.occurrence): c for c in await _embedded(fresh, title, world)}
        written = [fresh_ones.get((c.content_hash, c.occurrence), c) for c in page]
        await world.knowledge.store_chunks(work, document, written, is_last=first + PAGE >= len(chunks))
        embedded += len(fresh)
    return Finished(
        output={"document_id": document.id, "revision": document.revision, "chunks": len(chunks), "embedded": embedded}
    )


async def _embedded(chunks: Sequence[NewChunk], title: str | None, world: World) -> Sequence[NewChunk]:
    """The chunks with their vectors, and where they are wanted those of their units, all in one call."""
    if not chunks:
        return ()
    units = [unit_texts(c.content) if world.embeds_units else () for c in chunks]
    texts = [embedding_text(title, c.heading_path, c.content) for c in chunks]
    vectors = (await embed([*texts, *chain.from_iterable(units)], world)).vectors
    ends = [*accumulate(map(len, units), initial=len(chunks))]
    return [
        replace(c, embedding=vectors[n], unit_embeddings=vectors[ends[n] : ends[n + 1]] if world.embeds_units else None)
        for n, c in enumerate(chunks)
    ]


def _numbered(chunks: Sequence[Chunk], metadata: Json) -> tuple[NewChunk, ...]:
    """The chunks as they are written; equal ones of one document are told apart by counting."""
    seen: Counter[str] = Counter()
    numbered = []
    for c in chunks:
        occurrence = seen[c.content_hash]
        seen[c.content_hash] += 1
        numbered.append(
            NewChunk(
                ordinal=c.ordinal,
                content=c.content,
                heading_path=c.heading_path,
                start_char=c.start,
                end_char=c.end,
                tokens=c.tokens,
                content_hash=c.content_hash,
                occurrence=occurrence,
                metadata=metadata,
            )
        )
    return tuple(numbered)
