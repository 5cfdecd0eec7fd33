"""The circuits of providers in Redis, one for the whole fleet. What they do is decided in `jobs.decisions.breaking`."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from jobs.decisions.breaking import CLOSED, Breaking, Circuit, admit, after, verdict_on

log = structlog.get_logger()

Change = Callable[[Circuit], tuple[bool, Circuit]]

MOST_CONFLICTS = 3


class RedisCircuits:
    """`jobs.ports.Circuits`. A circuit is read, changed by a pure function, and written if nobody was quicker.

    Without Redis every circuit counts as closed: it saves time and fails no answer. `patience_s` bounds what an answer
    waits for it; after an outage was seen Redis is left alone for `rest_s`.
    """

    def __init__(
        self,
        redis: ArqRedis,
        breaking: Breaking,
        *,
        now_s: Callable[[], float] = time.time,
        patience_s: float = 0.25,
        rest_s: float = 5.0,
    ) -> None:
        self._redis = redis
        self._write = redis.register_script(Path(__file__).with_name("circuits.lua").read_text(encoding="utf-8"))
        self._breaking = breaking
        self._now_s = now_s
        self._patience_s = patience_s
        self._rest_s = rest_s
        self._away_until_s = 0.0  # by time.monotonic
        self._is_away = False

    async def admits(self, provider: str) -> bool:
        return await self._move(provider, lambda circuit: admit(circuit, self._now_s(), self._breaking))

    async def record(self, provider: str, code: str | None) -> None:
        verdict = verdict_on(code)
        await self._move(provider, lambda circuit: (True, after(circuit, verdict, self._now_s(), self._breaking)))

    async def _move(self, provider: str, change: Change) -> bool:
        """What `change` answers, once its circuit is stored; True where that cannot be."""
        if time.monotonic() < self._away_until_s:
            return True
        try:
            async with asyncio.timeout(self._patience_s):
                answer = await self._changed(provider, change)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("circuits.unreachable", problem=type(error).__name__)
            self._is_away, self._away_until_s = True, time.monotonic() + self._rest_s
            return True
        self._is_away = False
        return answer

    async def _changed(self, provider: str, change: Change) -> bool:
        key = f"rowcall:circuit:{provider}"
        for _ in range(MOST_CONFLICTS):
            stored: bytes = await self._redis.get(key) or b""
            before = Circuit(**json.loads(stored)) if stored else CLOSED
            answer, circuit = change(before)
            if circuit == before:
                return answer
            written = "" if circuit == CLOSED else json.dumps(asdict(circuit))
            if await self._write(keys=[key], args=[stored, written, self._keep_ms]):
                _tell(provider, before, circuit)
                return answer
        return True

    @property
    def _keep_ms(self) -> int:
        """Longer than anything in a circuit matters."""
        return round(1000 * (self._breaking.within_s + self._breaking.max_open_s + self._breaking.probe_s))


def _tell(provider: str, before: Circuit, circuit: Circuit) -> None:
    if circuit.opened_at_s is not None and circuit.opened_at_s != before.opened_at_s:
        log.warning("circuit.opened", provider=provider, failures=circuit.failures, open_s=circuit.open_s)
    elif before.is_open() and not circuit.is_open():
        log.info("circuit.closed", provider=provider)
