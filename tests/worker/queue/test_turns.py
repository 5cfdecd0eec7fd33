from arq.connections import ArqRedis

from tests.waiting import async_until
from worker.queue.turns import RedisTurn


async def test_one_process_has_the_turn_and_keeps_it(redis: ArqRedis) -> None:
    one, other = RedisTurn(redis), RedisTurn(redis)
    assert await one.take()
    assert not await other.take()
    assert await one.take()


async def test_the_turn_passes_on_at_once_when_it_is_given_up(redis: ArqRedis) -> None:
    one, other = RedisTurn(redis), RedisTurn(redis)
    await one.take()
    await other.give_up()  # changes nothing: it is not the other's
    assert not await other.take()
    await one.give_up()
    assert await other.take()


async def test_the_turn_of_a_process_that_died_passes_on(redis: ArqRedis) -> None:
    dead, other = RedisTurn(redis, ttl_s=0.05), RedisTurn(redis)
    await dead.take()
    await async_until(other.take, "the other has the turn")
    assert not await dead.take()


async def test_taking_the_turn_again_makes_it_last_longer(redis: ArqRedis) -> None:
    turn = RedisTurn(redis, ttl_s=60.0)
    await turn.take()
    await redis.pexpire("rowcall:sweeper", 1_000)
    await turn.take()
    assert await redis.pttl("rowcall:sweeper") > 50_000
