import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jobs.decisions.caching import CachedAnswer
from jobs.decisions.fusion import Candidate
from jobs.errors import AttemptLost, Retryable, Superseded
from jobs.ports import (
    Context,
    Document,
    Embedding,
    Example,
    ModelName,
    NewChunk,
    Opened,
    Opening,
    StoredChunk,
    Vectors,
    Work,
)
from worker.adapters import write_backs
from worker.adapters.memory.database import Generation, KeptAnswer, KeptChunk, KeptDocument, MemoryDatabase
from worker.storable import storable

OFFERED = 12  # examples whose answers differ, as in context_v4


class MemoryKnowledge:
    """`jobs.ports.Knowledge` on a `MemoryDatabase`. Who owns a document may read its chunks, and nobody else.

    Full text is approximate: the share of the question's words that a chunk holds, without stemming.
    """

    def __init__(self, database: MemoryDatabase, *, embedding_model: ModelName) -> None:
        self.database = database
        self.examples: list[tuple[str | None, Example, Embedding]] = []  # whose, what, and its question's vector
        self._embedding_model = embedding_model.model

    async def context(
        self,
        work: Work,
        question: str,
        vector: Vectors,
        opens: Opening,
        *,
        max_chunks: int,
        max_examples: int,
        cache_scope: str | None = None,
    ) -> Context:
        generation = self._held(work)
        chunks = [kept for kept in self.database.chunks.values() if self._document(kept, generation) is not None]
        searchable = [kept for kept in chunks if kept.embedding_model == self._embedding_model]
        similarity = {kept.id: cosine(kept.chunk.embedding, vector[0]) for kept in searchable}
        rank = {kept.id: share for kept in chunks if (share := share_of_words(question, kept.chunk)) > 0}
        near, by_words = positions(similarity, max_chunks), positions(rank, max_chunks)
        found = {kept.id: kept for kept in chunks}
        candidates = tuple(
            self._candidate(
                found[chunk_id],
                vector[0],
                similarity=similarity.get(chunk_id),
                text_rank=rank[chunk_id] if chunk_id in by_words else None,
                vector_position=near.get(chunk_id),
                text_position=by_words.get(chunk_id),
            )
            for chunk_id in near | by_words
        )
        id = self.database.open_call(generation, opens)
        return Context(
            candidates,
            self._near_examples(generation, vector[0], max_examples),
            other_model=len(searchable) < len(chunks),
            call=None if id is None else Opened(id, opens.reserved_usd),
            cached=self._cached(generation, vector[0], cache_scope),
        )

    async def document(self, work: Work) -> Document | None:
        generation = self._held(work)
        kept = self.database.documents.get(generation.input["document_id"])
        if kept is None or not may_read(generation, kept):
            return None
        chunks = tuple(
            StoredChunk(
                stored.chunk.content_hash,
                stored.chunk.occurrence,
                stored.embedding_model,
                stored.chunk.unit_embeddings is not None,
            )
            for stored in self._chunks_of(kept.document.id)
        )
        return replace(kept.document, chunks=chunks)

    async def store_chunks(self, work: Work, document: Document, chunks: Sequence[NewChunk], *, is_last: bool) -> None:
        self._held(work)
        kept = self.database.documents.get(document.id)
        if kept is None or kept.document.revision != document.revision:
            raise Superseded("the document has another revision")
        before = dict(self.database.chunks)
        for chunk in chunks:
            self._store(document, chunk)
        if not is_last:
            return
        stored = self._chunks_of(document.id)
        for gone in (chunk for chunk in stored if chunk.revision != document.revision):
            del self.database.chunks[key_of(document.id, gone.chunk)]
        remaining = self._chunks_of(document.id)
        if any(chunk.chunk.embedding is None or chunk.embedding_model != self._embedding_model for chunk in remaining):
            self.database.chunks = before  # as the transaction that is rolled back
            raise Retryable("document.incomplete", "chunks have lost their embeddings")
        kept.ingested_revision, kept.chunk_count = document.revision, len(remaining)

    def _held(self, work: Work) -> Generation:
        generation = self.database.held(work.id, work.attempt)
        if generation is None:
            raise AttemptLost("it is not running")
        return generation

    def _document(self, chunk: KeptChunk, generation: Generation) -> KeptDocument | None:
        """The chunk's document, if the generation's owner may read it and its filter wants it."""
        kept = self.database.documents[chunk.document_id]
        wanted = generation.input.get("filter", {})
        by_id = kept.document.id in wanted.get("document_ids", [kept.document.id])
        by_metadata = dict(kept.document.metadata).items() >= wanted.get("metadata", {}).items()
        return kept if may_read(generation, kept) and by_id and by_metadata else None

    def _chunks_of(self, document_id: str) -> list[KeptChunk]:
        return [chunk for chunk in self.database.chunks.values() if chunk.document_id == document_id]

    def _store(self, document: Document, chunk: NewChunk) -> None:
        chunk = replace(chunk, content=storable(chunk.content), metadata=storable(chunk.metadata))
        key = key_of(document.id, chunk)
        stored = self.database.chunks.get(key)
        embedding_model = None if chunk.embedding is None else self._embedding_model
        if stored is not None and chunk.embedding is None:  # it keeps the embedding that it has
            kept = stored.chunk
            chunk = replace(chunk, embedding=kept.embedding, unit_embeddings=kept.unit_embeddings)
            embedding_model = stored.embedding_model
        id = self.database.next_chunk_id() if stored is None else stored.id
        self.database.chunks[key] = KeptChunk(id, document.id, document.revision, chunk, embedding_model)

    def _near_examples(self, generation: Generation, vector: Embedding, limit: int) -> tuple[Example, ...]:
        mine = [
            (replace(example, similarity=cosine(question, vector)), question)
            for owner, example, question in self.examples
            if owner is not None and owner == generation.user_id
        ]
        near = sorted(mine, key=lambda pair: -pair[0].similarity)[:limit]
        near = [near[place] for place in places_offered([example.answer for example, _ in near])]
        return tuple(
            replace(example, to_nearer=tuple(cosine(question, nearer) for _, nearer in near[:place]))
            for place, (example, question) in enumerate(near)
        )

    def _cached(self, generation: Generation, vector: Embedding, scope: str | None) -> tuple[CachedAnswer, ...]:
        readable = {
            kept.id
            for kept in self.database.chunks.values()
            if may_read(generation, document := self.database.documents[kept.document_id])
            and kept.revision == document.document.revision
        }
        now = self.database.now()
        near = [
            cached_of(kept, generation, cosine(kept.entry.embedding, vector), (now - kept.at).total_seconds())
            for (tenant, _), kept in self.database.cached.items()
            if tenant == generation.tenant
            and kept.entry.scope == scope
            and kept.entry.embedding_model == self._embedding_model
            and (now - kept.at).total_seconds() < kept.entry.ttl_s + kept.entry.stale_s
            and kept.entry.chunk_ids
            and readable.issuperset(kept.entry.chunk_ids)
        ]
        if "history" in generation.input:
            return ()
        return tuple(sorted(near, key=lambda cached: -cached.similarity)[:4])

    def _candidate(
        self,
        kept: KeptChunk,
        asked: Embedding,
        *,
        similarity: float | None,
        text_rank: float | None,
        vector_position: int | None,
        text_position: int | None,
    ) -> Candidate:
        document, chunk = self.database.documents[kept.document_id].document, kept.chunk
        return Candidate(
            chunk_id=kept.id,
            document_id=document.id,
            ordinal=chunk.ordinal,
            title=document.title or chunk.metadata.get("title") or document.source or "",
            source=document.source,
            heading_path=chunk.heading_path,
            content=chunk.content,
            tokens=chunk.tokens,
            similarity=similarity,
            text_rank=text_rank,
            vector_position=vector_position,
            text_position=text_position,
            unit_similarities=() if similarity is None else unit_similarities(chunk, asked),
            metadata=chunk.metadata,
        )


def unit_similarities(chunk: NewChunk, asked: Embedding) -> tuple[float, ...]:
    units = () if chunk.unit_embeddings is None else chunk.unit_embeddings
    return tuple(round(cosine(unit, asked), 3) for unit in units)


def positions(scores: Mapping[int, float], limit: int) -> dict[int, int]:
    """The position, from 1, of each of the best; ties by id."""
    best = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))[:limit]
    return {chunk_id: position for position, chunk_id in enumerate(best, 1)}


def cached_of(kept: KeptAnswer, asking: Generation, similarity: float, age_s: float) -> CachedAnswer:
    entry, result = kept.entry, kept.result
    wrote = [call for call in result["calls"] if call["route"] is not None and call["status"] == "succeeded"]
    costs = [call["cost_usd"] for call in wrote]
    return CachedAnswer(
        id=kept.id,
        key=entry.key,
        question=entry.question,
        answer=result["answer"],
        citations=tuple(result["citations"]),
        similarity=similarity,
        age_s=age_s,
        is_fresh=age_s < entry.ttl_s,
        chunk_ids=frozenset(entry.chunk_ids),
        seen_chunk_ids=frozenset(entry.seen_chunk_ids),
        is_private=entry.had_examples and kept.user_id != asking.user_id,
        tokens_in=write_backs.known_sum(call["tokens_in"] for call in wrote),
        tokens_out=write_backs.known_sum(call["tokens_out"] for call in wrote),
        cost_usd=sum(costs) if costs and None not in costs else None,
    )


def may_read(generation: Generation, kept: KeptDocument) -> bool:
    return kept.user_id is not None and kept.user_id == generation.user_id


def key_of(document_id: str, chunk: NewChunk) -> tuple[str, str, int]:
    return document_id, chunk.content_hash, chunk.occurrence


def places_offered(answers: Sequence[str]) -> list[int]:
    """Of examples, nearest first: the nearest 12, and those whose answer another has too."""
    count = Counter(answers)
    return [place for place, answer in enumerate(answers) if place < OFFERED or count[answer] > 1]


def cosine(a: Embedding | None, b: Embedding) -> float:
    """Of unit vectors."""
    return 0.0 if a is None else float(np.dot(a, b))


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def share_of_words(question: str, chunk: NewChunk) -> float:
    asked = words_of(question)
    return len(asked & words_of(" ".join((*chunk.heading_path, chunk.content)))) / max(1, len(asked))
