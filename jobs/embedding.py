"""What every job asks of the embedding model: vectors, from a call that the tenant's budget allows."""

from collections.abc import Sequence

from jobs.decisions.pricing import most_tokens, most_usd
from jobs.ports import Embedded, Opened, Opening, World


async def embed(texts: Sequence[str], world: World, *, opened: Opened | None = None) -> Embedded:
    """Unit vectors, one a text. `opened`: the call's ledger row, where the claim has opened it.

    Raises Refused where the budget does not allow it.
    """
    most = most_usd(world.embedding_price, tokens_in=most_tokens(texts), tokens_out=0)
    opening = Opening("embed", world.embedder.name, reserved_usd=most)
    async with world.ledger.call(opening, opened=opened) as call:
        call.sends(texts)
        embedded = await world.embedder.embed(texts, call.id)
        if embedded.usage is not None:
            call.used(embedded.usage)
    return embedded
