"""`jobs.ports.Knowledge`, in memory and on the embedded Supabase."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.errors import AttemptLost, Retryable, Superseded
from jobs.ports import Context, Document, ModelName, NewChunk, Opening, StoredChunk, Vectors, Work
from tests.worker.adapters.grounds import MODEL, Ground, StoredCall, new_chunk, unit_vector

OTHER_MODEL = ModelName("local", "another")
NORTH, EAST, UP = unit_vector(1), unit_vector(0, 1), unit_vector(0, 0, 1)
ANSWER = Opening("answer", MODEL, "fast")


async def claimed(ground: Ground, kind: str, input: Mapping[str, Any], user_id: str) -> Work:
    work = await ground.rows("a", opens={}).claim(ground.insert(kind=kind, input=input, user_id=user_id))
    assert work is not None
    return work


async def ingest(
    ground: Ground, user_id: str, document_id: str, chunks: Sequence[NewChunk], model: ModelName = MODEL
) -> None:
    work, document = await reading(ground, user_id, document_id)
    await ground.knowledge(model).store_chunks(work, document, chunks, is_last=True)


async def reading(ground: Ground, user_id: str, document_id: str) -> tuple[Work, Document]:
    work = await claimed(ground, "ingest", {"document_id": document_id}, user_id)
    document = await ground.knowledge().document(work)
    assert document is not None
    return work, document


async def ask(
    ground: Ground,
    user_id: str,
    question: str = "which way?",
    vector: np.ndarray[Any, np.dtype[np.float32]] = NORTH,
    *,
    filter: Mapping[str, Any] | None = None,
    max_chunks: int = 10,
    max_examples: int = 0,
) -> Context:
    input = {"question": question} | ({} if filter is None else {"filter": filter})
    work = await claimed(ground, "answer", input, user_id)
    vectors: Vectors = vector[np.newaxis, :]
    found = await ground.knowledge().context(
        work, question, vectors, ANSWER, max_chunks=max_chunks, max_examples=max_examples
    )
    assert ground.calls(work.id) == [StoredCall("answer", "open")]
    assert found.call is not None
    return found


async def shelf(ground: Ground) -> tuple[str, str]:
    """A user's id, and the id of his document with three chunks."""
    user = ground.user()
    document = ground.document(user)
    chunks = [
        new_chunk(0, "Needles point north.", NORTH),
        new_chunk(1, "The sun rises in the east.", EAST),
        new_chunk(2, "Balloons rise.", UP),
    ]
    await ingest(ground, user, document, chunks)
    return user, document


# Context


async def test_the_nearest_chunks_come_first_with_all_that_a_prompt_and_a_citation_need(ground: Ground) -> None:
    user, document = await shelf(ground)
    found = await ask(ground, user, vector=unit_vector(1, 0.5))
    first, second = found.candidates[:2]
    assert (first.content, second.content) == ("Needles point north.", "The sun rises in the east.")
    assert (first.document_id, first.ordinal, first.title) == (document, 0, "Title")
    assert first.source is not None
    assert first.heading_path == ("Heading",)
    assert first.vector_position == 1
    assert first.similarity == pytest.approx(1 / np.sqrt(1.25), abs=1e-5)
    assert (first.tokens, first.text_position) == (3, None)
    assert not found.other_model


async def test_a_chunk_is_found_by_its_words_though_its_vector_is_far(ground: Ground) -> None:
    user, _ = await shelf(ground)
    found = await ask(ground, user, "what about balloons?", NORTH, max_chunks=1)
    by_words = {candidate.content: candidate for candidate in found.candidates}
    assert set(by_words) == {"Needles point north.", "Balloons rise."}
    balloons = by_words["Balloons rise."]
    assert (balloons.text_position, balloons.vector_position) == (1, None)
    assert balloons.text_rank is not None
    assert balloons.similarity is not None
    assert balloons.similarity < min(c.similarity for c in found.candidates if c.vector_position and c.similarity)


async def test_no_other_user_s_chunks_are_found(ground: Ground) -> None:
    await shelf(ground)
    user, document = await shelf(ground)
    found = await ask(ground, user, "north east balloons rise needles sun", max_chunks=30)
    assert len(found.candidates) == 3
    assert {candidate.document_id for candidate in found.candidates} == {document}
    stranger = await ask(ground, ground.user(), "north east balloons rise needles sun", max_chunks=30)
    assert stranger.candidates == ()


async def test_a_filter_by_document_and_by_metadata_is_kept_to(ground: Ground) -> None:
    user, first = await shelf(ground)
    second = ground.document(user, metadata={"team": "blue", "year": 2026})
    await ingest(ground, user, second, [new_chunk(0, "Compasses point north.", NORTH)])
    by_id = await ask(ground, user, filter={"document_ids": [second]})
    by_metadata = await ask(ground, user, filter={"metadata": {"team": "blue"}})
    neither = await ask(ground, user, filter={"document_ids": [first], "metadata": {"team": "blue"}})
    assert [candidate.content for candidate in by_id.candidates] == ["Compasses point north."]
    assert [candidate.content for candidate in by_metadata.candidates] == ["Compasses point north."]
    assert neither.candidates == ()


async def test_vectors_of_another_model_are_not_searched_and_the_context_says_so(ground: Ground) -> None:
    user, _ = await shelf(ground)
    document = ground.document(user)
    await ingest(ground, user, document, [new_chunk(0, "Old maps.", NORTH)], model=OTHER_MODEL)
    found = await ask(ground, user)
    assert found.other_model
    assert "Old maps." not in [candidate.content for candidate in found.candidates]


async def test_examples_are_the_asker_s_own_nearest_first(ground: Ground) -> None:
    user, stranger = ground.user(), ground.user()
    ground.add_example(user, "Where is up?", "Above.", UP)
    ground.add_example(user, "Where is north?", "That way.", NORTH)
    ground.add_example(stranger, "Where is north?", "I will not say.", NORTH)
    found = await ask(ground, user, max_examples=2)
    assert [example.answer for example in found.examples] == ["That way.", "Above."]
    assert found.examples[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert [example.to_nearer for example in found.examples] == [(), (pytest.approx(float(NORTH @ UP), abs=1e-3),)]
    assert len((await ask(ground, user, max_examples=1)).examples) == 1
    assert (await ask(ground, user, max_examples=0)).examples == ()


async def test_beyond_twelve_examples_those_with_an_answer_in_common_are_offered(ground: Ground) -> None:
    user = ground.user()
    answers = [*(f"answer {place}" for place in range(14)), "answer 3"]
    vectors = [unit_vector(1, place / 10) for place in range(15)]
    for answer, vector in zip(answers, vectors, strict=True):
        ground.add_example(user, "Which way?", answer, vector)
    found = (await ask(ground, user, max_examples=15)).examples
    assert [example.answer for example in found] == [*answers[:12], "answer 3"]
    among = [float(vectors[14] @ nearer) for nearer in vectors[:12]]
    assert found[-1].to_nearer == pytest.approx(among, abs=1e-3)


async def test_a_question_without_a_word_is_answered_by_vectors_alone(ground: Ground) -> None:
    user, _ = await shelf(ground)
    found = await ask(ground, user, "?!")
    assert found.candidates[0].content == "Needles point north."
    assert all(candidate.text_position is None for candidate in found.candidates)


async def test_the_context_of_a_lost_attempt_is_refused_and_opens_nothing(ground: Ground) -> None:
    user, _ = await shelf(ground)
    work = await claimed(ground, "answer", {"question": "?"}, user)
    ground.cancel(work.id)
    with pytest.raises(AttemptLost):
        await ground.knowledge().context(work, "?", NORTH[np.newaxis, :], ANSWER, max_chunks=1, max_examples=0)
    assert ground.calls(work.id) == []


# Documents


async def test_a_document_is_read_with_the_chunks_that_it_has(ground: Ground) -> None:
    user, document_id = await shelf(ground)
    _, document = await reading(ground, user, document_id)
    assert (document.title, document.media_type, document.content) == ("Title", "text/markdown", "text")
    assert (document.revision, document.metadata) == (1, {})
    assert StoredChunk("hash of Balloons rise.", 0, MODEL.model) in document.chunks
    assert len(document.chunks) == 3


async def test_another_user_s_document_is_as_good_as_gone(ground: Ground) -> None:
    _, document = await shelf(ground)
    work = await claimed(ground, "ingest", {"document_id": document}, ground.user())
    assert await ground.knowledge().document(work) is None


async def test_a_document_that_was_deleted_is_none(ground: Ground) -> None:
    work = await claimed(ground, "ingest", {"document_id": "00000000-0000-4000-8000-000000000000"}, ground.user())
    assert await ground.knowledge().document(work) is None


# Storing


async def test_an_unchanged_chunk_keeps_its_id_and_its_embedding_and_what_no_page_names_goes(ground: Ground) -> None:
    user, document = await shelf(ground)
    before = ground.chunks(document)
    ground.change_document(document)
    await ingest(
        ground,
        user,
        document,
        [new_chunk(0, "Balloons rise.", None), new_chunk(1, "Stones fall.", unit_vector(0, 0, -1))],
    )
    after = ground.chunks(document)
    assert set(after) == {"Balloons rise.", "Stones fall."}
    kept = after["Balloons rise."]
    assert (kept.id, kept.ordinal, kept.embedding_model) == (before["Balloons rise."].id, 0, MODEL.model)
    assert (await ask(ground, user, vector=UP)).candidates[0].similarity == pytest.approx(1.0, abs=1e-5)


async def test_the_sentences_of_a_chunk_are_compared_with_the_question_and_stay_with_its_embedding(
    ground: Ground,
) -> None:
    user = ground.user()
    document = ground.document(user)
    content = "Needles point north. The sun rises in the east."
    units = np.stack([NORTH, EAST])
    with_units = replace(new_chunk(0, content, NORTH), unit_embeddings=units)
    await ingest(ground, user, document, [with_units, new_chunk(1, "Balloons rise.", UP)])

    async def similarities() -> dict[str, tuple[float, ...]]:
        return {found.content: found.unit_similarities for found in (await ask(ground, user)).candidates}

    assert await similarities() == {content: (1.0, 0.0), "Balloons rise.": ()}
    await ingest(ground, user, document, [new_chunk(0, content, None), new_chunk(1, "Balloons rise.", None)])
    assert (await similarities())[content] == (1.0, 0.0), "it did not change"
    _, read = await reading(ground, user, document)
    assert {chunk.content_hash: chunk.has_units for chunk in read.chunks} == {
        f"hash of {content}": True,
        "hash of Balloons rise.": False,
    }
    await ingest(ground, user, document, [new_chunk(0, content, UP)])
    assert (await similarities())[content] == (), "vectors of two models must not stand side by side"


async def test_sentences_of_another_model_are_not_compared(ground: Ground) -> None:
    user, content = ground.user(), "Needles point north."
    document = ground.document(user)
    foreign = replace(new_chunk(0, content, NORTH), unit_embeddings=NORTH[np.newaxis, :])
    await ingest(ground, user, document, [foreign], OTHER_MODEL)
    [found] = (await ask(ground, user, content)).candidates
    assert (found.similarity, found.unit_similarities) == (None, ())


async def test_pages_add_up_and_only_the_last_one_removes(ground: Ground) -> None:
    user, document_id = await shelf(ground)
    ground.change_document(document_id)
    work, document = await reading(ground, user, document_id)
    knowledge = ground.knowledge()
    pages = [[new_chunk(n, f"Page {n}.", NORTH)] for n in range(3)]
    await knowledge.store_chunks(work, document, pages[0], is_last=False)
    await knowledge.store_chunks(work, document, pages[1], is_last=False)
    assert len(ground.chunks(document_id)) == 5
    await knowledge.store_chunks(work, document, pages[1], is_last=False)  # a page that comes again
    await knowledge.store_chunks(work, document, pages[2], is_last=True)
    assert set(ground.chunks(document_id)) == {"Page 0.", "Page 1.", "Page 2."}


async def test_an_empty_last_page_empties_a_document(ground: Ground) -> None:
    user, document = await shelf(ground)
    ground.change_document(document)
    await ingest(ground, user, document, [])
    assert ground.chunks(document) == {}


async def test_chunks_of_a_document_that_changed_meanwhile_are_superseded(ground: Ground) -> None:
    user, document_id = await shelf(ground)
    work, document = await reading(ground, user, document_id)
    ground.change_document(document_id)
    with pytest.raises(Superseded):
        await ground.knowledge().store_chunks(work, document, [new_chunk(0, "Stale.", NORTH)], is_last=True)
    assert "Stale." not in ground.chunks(document_id)


async def test_a_lost_attempt_stores_nothing(ground: Ground) -> None:
    user, document_id = await shelf(ground)
    work, document = await reading(ground, user, document_id)
    ground.cancel(work.id)
    with pytest.raises(AttemptLost):
        await ground.knowledge().store_chunks(work, document, [new_chunk(0, "Late.", NORTH)], is_last=True)
    assert "Late." not in ground.chunks(document_id)


async def test_chunks_that_lost_their_embedding_make_the_ingest_try_again(ground: Ground) -> None:
    user, document_id = await shelf(ground)
    work, document = await reading(ground, user, document_id)
    ground.delete_chunks(document_id)
    page = [new_chunk(0, "Balloons rise.", None)]
    with pytest.raises(Retryable) as raised:
        await ground.knowledge().store_chunks(work, document, page, is_last=True)
    assert raised.value.code == "document.incomplete"
    assert ground.chunks(document_id) == {}


async def test_another_embedding_model_replaces_the_vectors_and_keeps_the_chunks(ground: Ground) -> None:
    user, document = await shelf(ground)
    before = ground.chunks(document)
    chunks = [new_chunk(n, content, NORTH) for n, content in enumerate(before)]
    await ingest(ground, user, document, chunks, model=OTHER_MODEL)
    after = ground.chunks(document)
    assert {content: seen.id for content, seen in after.items()} == {
        content: seen.id for content, seen in before.items()
    }
    assert {seen.embedding_model for seen in after.values()} == {OTHER_MODEL.model}


async def test_text_that_postgres_cannot_hold_is_mended(ground: Ground) -> None:
    user = ground.user()
    document = ground.document(user)
    await ingest(ground, user, document, [new_chunk(0, "fi\0gure", NORTH)])
    assert set(ground.chunks(document)) == {"fi\ufffdgure"}


async def test_context_opens_no_call_that_the_tenant_s_budget_forbids(ground: Ground) -> None:
    user = ground.user()
    work = await claimed(ground, "answer", {"question": "which way?"}, user)
    dear = Opening("answer", MODEL, "best", reserved_usd=11.0)
    found = await ground.knowledge().context(
        work, "which way?", NORTH[np.newaxis, :], dear, max_chunks=1, max_examples=0
    )
    assert found.call is None
    assert ground.calls(work.id) == []
