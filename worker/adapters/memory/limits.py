import time
from collections.abc import Callable, Mapping

from jobs.ports import ModelName
from worker.ports import PerMinute

BURST_S = 5.0
RECOVERY_S = 60.0


class MemoryLimits:
    """`worker.ports.Limits` for one process."""

    def __init__(
        self, limits: Mapping[ModelName, PerMinute], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._now_s = monotonic_s
        self._earned_s: dict[tuple[ModelName, str], float] = {}
        self._not_before_s: dict[ModelName, float] = {}
        self._shares: dict[ModelName, tuple[float, float]] = {}  # what the provider bears, and when that was seen

    def of(self, model: ModelName) -> PerMinute:
        return self._limits.get(model, PerMinute())

    async def reserve(self, model: ModelName, tokens: int, *, patience_s: float) -> float:
        limit, now_s = self.of(model), self._now_s()
        waits_s, earned_s = [self._not_before_s.get(model, now_s) - now_s], {}
        for name, per_minute, amount in (("requests", limit.requests, 1), ("tokens", limit.tokens, tokens)):
            if per_minute:
                earned = max(now_s, self._earned_s.get((model, name), now_s))
                waits_s.append(earned - BURST_S - now_s)
                earned_s[model, name] = earned + 60 * amount / (per_minute * self._share(model))
        wait_s = max(0.0, *waits_s)
        if wait_s > patience_s:
            return -wait_s
        self._earned_s |= earned_s
        return wait_s

    async def held_back_s(self, model: ModelName) -> float:
        return max(0.0, self._not_before_s.get(model, 0.0) - self._now_s())

    async def settle(self, model: ModelName, *, reserved: int, used: int) -> None:
        if (per_minute := self.of(model).tokens) and (model, "tokens") in self._earned_s:
            self._earned_s[model, "tokens"] += 60 * (used - reserved) / (per_minute * self._share(model))

    async def refused(self, model: ModelName, wait_s: float) -> None:
        now_s = self._now_s()
        self._not_before_s[model] = max(self._not_before_s.get(model, now_s), now_s + wait_s)
        if model not in self._shares or now_s - self._shares[model][1] > 1.0:
            self._shares[model] = (max(0.1, self._share(model) * 2 / 3), now_s)

    def _share(self, model: ModelName) -> float:
        share, since_s = self._shares.get(model, (1.0, 0.0))
        return min(1.0, share + (self._now_s() - since_s) / RECOVERY_S)
