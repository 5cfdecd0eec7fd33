"""An embedding is reserved from the tenant's budget before it is made, and settled with what it used."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jobs.decisions.pricing import Price
from jobs.embedding import embed
from jobs.errors import Refused
from jobs.ingest import PAGE, ingest
from jobs.ports import Document, Embedded, Opened, Opening
from tests.jobs.attempts import claimed
from worker.adapters.memory import HashEmbedder, MemoryKnowledge

DEAR = Price(1_000_000.0, 1_000_000.0, 0.0)  # a dollar a token; the tenant has 10 a day
QUESTION = {"input": {"question": "?"}, "user_id": "owner"}


async def test_what_an_embedding_may_cost_is_taken_from_the_budget_while_it_is_made() -> None:
    _, world, ledger = await claimed(QUESTION, embedding_price=DEAR)
    await embed(["six by"], world)
    async with ledger.call(Opening("other", world.embedder.name, reserved_usd=4.0)):  # six were reserved, and stay so
        with pytest.raises(Refused, match="usd_per_tenant_and_day"):
            await embed(["1"], world)


async def test_an_embedding_that_is_too_dear_is_not_made() -> None:
    embedder = HashEmbedder()
    _, world, ledger = await claimed(QUESTION, embedding_price=DEAR, embedder=embedder)
    with pytest.raises(Refused):
        await embed(["eleven byte"], world)
    assert (embedder.texts, ledger.closings) == ([], [])


async def test_an_unknown_price_forbids_nothing_and_a_call_that_is_open_is_used() -> None:
    _, world, ledger = await claimed(QUESTION)
    opened = Opened("the claim's")
    assert (await embed(["a text of more than ten bytes"], world, opened=opened)).vectors.shape == (1, 384)
    assert [call.id for call in ledger.closings] == [opened.id]


@pytest.mark.parametrize(("reserved_usd", "is_used"), [(1000.0, True), (0.000001, False)])
async def test_a_question_for_which_the_claim_reserved_too_little_has_a_row_of_its_own(
    reserved_usd: float, *, is_used: bool
) -> None:
    _, world, ledger = await claimed(QUESTION, embedding_price=DEAR)
    await embed(["a question"], world, opened=Opened("the claim's", reserved_usd))
    assert [call.id == "the claim's" for call in ledger.closings] == [is_used]


async def test_a_document_that_is_too_dear_keeps_the_pages_before() -> None:
    content = "\n\n".join(f"# Heading {n}\n\n{'word ' * 100}" for n in range(2 * PAGE))
    work, world, ledger = await claimed({"kind": "ingest", "input": {"document_id": "d"}, "user_id": "owner"})
    assert isinstance(world.knowledge, MemoryKnowledge)
    database = world.knowledge.database
    database.add_document(Document("d", "Title", None, "text/markdown", content, {}, 1, ()), user_id="owner")
    usd_per_token = 10.0 / (0.75 * len(content))  # so the budget is not enough for all of them
    with pytest.raises(Refused):
        await ingest(work, replace(world, embedding_price=Price(usd_per_token * 1e6, 0.0, 0.0)))
    pages = len(ledger.closings)
    assert pages > 0
    assert len(database.chunks) == pages * PAGE


@pytest.mark.parametrize("embeds_units", [False, True])
async def test_an_ingest_embeds_each_sentence_where_it_is_asked_to_and_goes_back_for_those_that_it_left(
    *, embeds_units: bool
) -> None:
    work, world, _ = await claimed({"kind": "ingest", "input": {"document_id": "d"}, "user_id": "owner"})
    assert isinstance(world.knowledge, MemoryKnowledge)
    database = world.knowledge.database
    content = "# Birds\n\nSwifts fly. They sleep in the air."
    database.add_document(Document("d", "Title", None, "text/markdown", content, {}, 1, ()), user_id="owner")
    await ingest(work, replace(world, embeds_units=embeds_units))
    [kept] = database.chunks.values()
    units = kept.chunk.unit_embeddings
    if embeds_units:
        alone = (await HashEmbedder().embed(["Swifts fly.", "They sleep in the air."], "call")).vectors
        assert units is not None
        assert units.tolist() == alone.tolist()
    else:
        assert units is None
    again = await ingest(work, replace(world, embeds_units=True))
    assert again.output is not None
    assert again.output["embedded"] == (0 if embeds_units else 1)
    [kept] = database.chunks.values()
    assert kept.chunk.unit_embeddings is not None


class Uncounted(HashEmbedder):
    """Of a provider that counts no tokens."""

    async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:
        return replace(await super().embed(texts, call_id), usage=None)


async def test_an_embedding_that_nobody_counted_is_booked_as_an_estimate() -> None:
    _, world, ledger = await claimed(QUESTION, embedder=Uncounted())
    await embed(["six by", "two"], world)
    [call] = ledger.closings
    assert (call.tokens_in, call.tokens_out, call.is_estimated) == (9, 0, True)
