"""An example → its question's vector, by which questions like it find it."""

from jobs.embedding import embed
from jobs.ports import Finished, Work, World


async def learn_example(work: Work, world: World) -> Finished:
    """Whether it was learned. One that was removed meanwhile, or whose passages its owner may not read, is left."""
    question = await world.examples.question(work)
    if question is None:
        return Finished(output={"learned": False})
    embedded = await embed([question], world)
    return Finished(output={"learned": await world.examples.learn(work, embedded.vectors[0])})
