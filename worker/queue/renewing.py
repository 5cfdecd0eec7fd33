"""Renewal of leases by a thread with a connection of its own: an event loop that is busy does not lose its jobs."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.queue.link import Argument
from worker.queue.scripts import read_script

log = structlog.get_logger()

STUCK_S = 60.0  # an event loop that has not turned for so long will not: others may have its jobs


class RenewingThread:
    """Renews every third of the lease what `held` names. `turned` says that the event loop turns.

    A lease that was lost is reported to `lost`, from this thread. It costs nothing but a second giving out: the row's
    lease, and not this one, decides who runs.
    """

    def __init__(
        self,
        client: ArqRedis,
        queue_name: str,
        *,
        lease_s: float,
        held: Callable[[], Sequence[tuple[Argument, ...]]],
        stuck_s: float,
        lost: Callable[[Sequence[str]], None],
    ) -> None:
        self._settings = sync_settings(client)
        self._queue_name = queue_name
        self._lease_s = lease_s
        self._held = held
        self._lost = lost
        self._stuck_s = stuck_s
        self._stop = threading.Event()
        self._turned_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._renew_until_stopped, name="renewing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread within the time of one call; it is not waited for."""
        self._stop.set()

    def turned(self) -> None:
        self._turned_at_s = time.monotonic()

    def _renew_until_stopped(self) -> None:
        client = redis.Redis(**self._settings)
        renew = client.register_script(read_script("renew").text)
        try:
            while not self._stop.wait(self._lease_s / 3):
                held = self._held()
                if not held or time.monotonic() - self._turned_at_s > self._stuck_s:
                    continue
                arguments = [round(1000 * self._lease_s), *(part for job in held for part in job)]
                try:
                    lost = renew(keys=[self._queue_name], args=arguments)
                except (RedisError, OSError) as error:
                    log.warning("hints.not_renewed", held=len(held), problem=type(error).__name__)
                    continue
                if lost:
                    self._lost([id.decode() for id in lost])
        finally:
            client.close()


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
