"""An example → its question's vector, by which questions like it find it."""

from jobs.ports import Finished, Opening, Work, World


async def learn_example(work: Work, world: World) -> Finished:
    """Whether it was learned. One that was removed meanwhile, or whose passages its owner may not read, is left."""
    question = await world.examples.question(work)
    if question is None:
        return Finished(output={"learned": False})
    async with world.ledger.call(Opening("embed", world.embedder.name)) as call:
        embedded = await world.embedder.embed([question], call.id)
        call.used(embedded.usage)
    return Finished(output={"learned": await world.examples.learn(work, embedded.vectors[0])})
