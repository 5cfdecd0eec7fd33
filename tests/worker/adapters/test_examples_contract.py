"""`jobs.ports.Examples`, in memory and on the embedded Supabase."""

import pytest

from jobs.errors import AttemptLost
from jobs.ports import Work
from tests.worker.adapters.grounds import Ground, unit_vector

NORTH = unit_vector(1)


async def learning(ground: Ground, user_id: str, example_id: str) -> Work:
    input = {"example_id": example_id}
    work = await ground.rows("a", opens={}).claim(ground.insert(kind="learn_example", input=input, user_id=user_id))
    assert work is not None
    return work


async def test_an_example_s_question_is_read_and_its_vector_stored(ground: Ground) -> None:
    user = ground.user()
    example = ground.unlearned_example(user, "Which way?")
    work, examples = await learning(ground, user, example), ground.examples()
    assert await examples.question(work) == "Which way?"
    assert await examples.learn(work, NORTH)
    assert ground.learned(example) == pytest.approx(NORTH, abs=1e-6)


async def test_another_s_example_is_as_good_as_gone(ground: Ground) -> None:
    example = ground.unlearned_example(ground.user(), "Which way?")
    assert await ground.examples().question(await learning(ground, ground.user(), example)) is None


async def test_an_example_that_is_gone_is_not_learned(ground: Ground) -> None:
    work, examples = await learning(ground, ground.user(), "123456789"), ground.examples()
    assert await examples.question(work) is None
    assert not await examples.learn(work, NORTH)


async def test_a_lost_attempt_reads_and_stores_nothing(ground: Ground) -> None:
    user = ground.user()
    work, examples = await learning(ground, user, ground.unlearned_example(user, "Which way?")), ground.examples()
    ground.cancel(work.id)
    with pytest.raises(AttemptLost):
        await examples.question(work)
    with pytest.raises(AttemptLost):
        await examples.learn(work, NORTH)
