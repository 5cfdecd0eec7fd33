from collections.abc import Callable

from jobs.decisions.breaking import CLOSED, Breaking, Circuit, admit, after, verdict_on

DEFAULT = Breaking()


class MemoryCircuits:
    """`jobs.ports.Circuits` of one process."""

    def __init__(self, breaking: Breaking = DEFAULT, *, now_s: Callable[[], float] = lambda: 0.0) -> None:
        self._breaking = breaking
        self._now_s = now_s
        self._circuits: dict[str, Circuit] = {}

    async def admits(self, provider: str) -> bool:
        is_admitted, circuit = admit(self._circuits.get(provider, CLOSED), self._now_s(), self._breaking)
        self._circuits[provider] = circuit
        return is_admitted

    async def record(self, provider: str, code: str | None) -> None:
        before = self._circuits.get(provider, CLOSED)
        self._circuits[provider] = after(before, verdict_on(code), self._now_s(), self._breaking)
