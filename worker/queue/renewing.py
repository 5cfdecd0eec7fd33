"""The leases of hints in Redis, renewed from a thread: see `worker.renewing`."""

from collections.abc import Callable, Sequence
from typing import Any

import redis
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.queue.link import Argument
from worker.queue.scripts import read_script

log = structlog.get_logger()


class HintLeases:
    """Renews what `held` names, over a connection of its own, and tells `lost` which leases were lost.

    That costs nothing but a second giving out: the row's lease, and not this one, decides who runs.
    """

    def __init__(
        self,
        client: ArqRedis,
        queue_name: str,
        *,
        lease_s: float,
        held: Callable[[], Sequence[tuple[Argument, ...]]],
        lost: Callable[[Sequence[str]], None],
    ) -> None:
        self._client = redis.Redis(**sync_settings(client))
        self._script = self._client.register_script(read_script("renew").text)
        self._queue_name = queue_name
        self._lease_ms = round(1000 * lease_s)
        self._held = held
        self._lost = lost

    def renew(self) -> bool:
        """Whether Redis answered. Blocks, for the time limits of the client at most."""
        held = self._held()
        if not held:
            return True
        try:
            arguments = [self._lease_ms, *(part for job in held for part in job)]
            lost = self._script(keys=[self._queue_name], args=arguments)
        except (RedisError, OSError) as error:
            log.warning("hints.not_renewed", held=len(held), problem=type(error).__name__)
            return False
        if lost:
            self._lost([id.decode() for id in lost])
        return True

    def close(self) -> None:
        self._client.close()


def sync_settings(client: ArqRedis) -> dict[str, Any]:
    """The address, the account and the time limits of an asyncio client, for a client of a thread's own."""
    pool = client.connection_pool
    names = ("host", "port", "db", "username", "password", "socket_timeout", "socket_connect_timeout")
    settings = {name: pool.connection_kwargs[name] for name in names if name in pool.connection_kwargs}
    if issubclass(pool.connection_class, redis.asyncio.SSLConnection):
        secure = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
        settings |= {name: pool.connection_kwargs[name] for name in secure if name in pool.connection_kwargs}
        settings["ssl"] = True
    return settings
