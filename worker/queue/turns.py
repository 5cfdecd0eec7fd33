"""One process of the fleet at a time."""

from pathlib import Path
from uuid import uuid4

from arq.connections import ArqRedis

from worker.queue.arq_queue import redis_errors_translated

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisTurn:
    """`worker.sweeper.Turn` on a key of Redis that expires: the turn of a process that died passes on by itself.

    It saves work and guards nothing: two holders at once, after a stall that outlasts `ttl_s`, do the same work twice.
    """

    def __init__(self, redis: ArqRedis, *, key: str = "rowcall:sweeper", ttl_s: float = 5.0) -> None:
        self._key = key
        self._token = uuid4().hex
        self._ttl_ms = round(1000 * ttl_s)
        self._take = redis.register_script(Path(__file__).with_name("turns.lua").read_text(encoding="utf-8"))
        self._release = redis.register_script(RELEASE)

    async def take(self) -> bool:
        with redis_errors_translated():
            taken: int = await self._take(keys=[self._key], args=[self._token, self._ttl_ms])
        return taken == 1

    async def give_up(self) -> None:
        with redis_errors_translated():
            await self._release(keys=[self._key], args=[self._token])
