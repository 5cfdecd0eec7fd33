"""What goes wrong: each fault, and a run of them drawn by chance."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

from chaos_clients import Clients, Watched
from chaos_model import FAULTS
from chaos_proxy import Behaviour, Proxy
from chaos_stage import GRACE_S, LEASE_S, Stage

from worker.local.processes import Child

DRAIN_S = GRACE_S + 30.0  # for a worker to end after SIGTERM; more is a finding
PAUSE_S = (0.1, 0.5)  # between two faults: most overlap
MOST_UNDER_WAY = 12  # the later ones wait: else those that take turns pile up, and the end is all of one kind
ROWS_OF_A_CALM = 4
LOOK_S = 0.02
ECHO_S = 1.0  # so long after its end a fault is still felt


@dataclass(slots=True)
class Happened:
    """A fault, and while it lasted. `worker`: the process id of the one that it hit."""

    kind: str
    began: float = field(default_factory=time)
    ended: float | None = None
    worker: int | None = None

    def overlaps(self, attempt: Mapping[str, Any]) -> bool:
        """Whether it may have been felt while the attempt ran, by the row."""
        ended = attempt["finished_at"]
        begins_before_its_end = ended is None or self.began < ended.timestamp()
        return begins_before_its_end and (self.ended is None or self.ended + ECHO_S > attempt["started_at"].timestamp())


class Chaos:
    """Draws faults and makes them happen, several at once."""

    def __init__(self, stage: Stage, clients: Clients, seed: int) -> None:
        self.happened: list[Happened] = []
        self.calm_kills: list[Happened] = []
        self.calm_cancels: list[Happened] = []  # by webhook, then without one
        self.stubborn = 0  # workers that had to be killed after SIGTERM
        self._stage = stage
        self._clients = clients
        self._chance = random.Random(seed)
        self._under_way: set[asyncio.Task[None]] = set()
        self._valkey, self._gateway, self._webhooks = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._kinds: dict[str, tuple[float, Callable[[Happened], Awaitable[None]]]] = {
            # kind: (weight, what it does)
            "worker.sigkill": (3, self._kill),
            "worker.sigterm": (2, self._terminate),
            "worker.sigstop": (2, self._stop),
            "valkey.killed": (1, lambda fault: self._lose_valkey(fault, keeps_data=True)),
            "valkey.emptied": (1, lambda fault: self._lose_valkey(fault, keeps_data=False)),
            "webhooks.dropped": (1, lambda fault: self._webhooks_that(fault, "drop")),
            "webhooks.doubled": (1, lambda fault: self._webhooks_that(fault, "double")),
            "webhooks.delayed": (1, lambda fault: self._webhooks_that(fault, "delay")),
            "gateway.failing": (1, lambda fault: self._gateway_that(fault, "fail")),
            "gateway.hanging": (1, lambda fault: self._gateway_that(fault, "hang")),
            "gateway.cutting": (2, lambda fault: self._gateway_that(fault, "cut")),
            "owner.cancels": (1, self._cancel),
            **{f"model.{fault}": (1.0, self._model_that(fault)) for fault in FAULTS},
        }

    @property
    def counts(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.happened)

    async def run(self, faults: int) -> None:
        """So many, each kind once before chance decides; returns when the last is over."""
        for number in range(faults):
            kinds = list(self._kinds)
            weights = [weight for weight, _ in self._kinds.values()]
            if number % len(kinds) == 0:
                self._chance.shuffle(first := kinds.copy())
            kind = first[number] if number < len(kinds) else self._chance.choices(kinds, weights)[0]
            if len(self._under_way) >= MOST_UNDER_WAY:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(self.do(kind))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
        await asyncio.gather(*self._under_way)

    async def do(self, kind: str) -> None:
        fault = Happened(kind)
        self.happened.append(fault)
        await self._kinds[kind][1](fault)
        fault.ended = time()

    async def calm_kill(self) -> None:
        """Kills the busiest worker while nothing else goes wrong, and waits until its rows have ended."""
        busiest, rows = await self._busy()
        fault = Happened("worker.sigkill", worker=busiest.pid)
        self.happened.append(fault)
        self.calm_kills.append(fault)
        self._kill_now(busiest)
        fault.ended = time()
        await self._clients.until_ended(rows)

    async def calm_stop(self) -> None:
        """Stops the busiest worker until others have answered its rows; then it goes on with answers of its own."""
        busiest, rows = await self._busy()
        fault = Happened("worker.sigstop", worker=busiest.pid)
        self.happened.append(fault)
        busiest.send(signal.SIGSTOP)
        await self._clients.until_ended(rows)
        busiest.send(signal.SIGCONT)
        fault.ended = time()
        await asyncio.sleep(ECHO_S)

    async def calm_cancel(self, *, by_webhook: bool) -> None:
        """An owner cancels a row that is being answered, and the model is seen to be left."""
        model = self._stage.model
        model.faults.append("slow")
        row = await self._clients.ask()
        while not row.updates or not row.updates[-1].text:  # noqa: ASYNC110 - the client tells nobody else
            await asyncio.sleep(LOOK_S)
        self._stage.webhooks.behave("pass" if by_webhook else "drop")
        fault = Happened("owner.cancels")
        self.happened.append(fault)
        await self._clients.cancel(row)
        asked = model.log[-1]
        while asked.outcome is None:  # noqa: ASYNC110 - the model tells nobody
            await asyncio.sleep(LOOK_S)
        fault.ended = asked.ended
        self.calm_cancels.append(fault)
        self._stage.webhooks.behave("pass")

    async def _busy(self) -> tuple[Child, list[Watched]]:
        """A worker that is answering, and rows whose answers take longer than a lease."""
        model = self._stage.model
        model.faults.extend(["slow"] * ROWS_OF_A_CALM)
        rows = [await self._clients.ask() for _ in range(ROWS_OF_A_CALM)]
        while model.faults or any(asked.outcome is None and not asked.words for asked in model.log):  # noqa: ASYNC110 - the model tells nobody
            await asyncio.sleep(LOOK_S)  # none of them is slow again when it is run again
        return await self._busiest(), rows

    # Workers

    async def _kill(self, fault: Happened) -> None:
        worker = await self._any_worker()
        fault.began, fault.worker = time(), worker.pid
        self._kill_now(worker)

    def _kill_now(self, worker: Child) -> None:
        worker.kill()
        self._stage.fleet.gone(worker)
        self._stage.fleet.start()

    async def _terminate(self, fault: Happened) -> None:
        worker = await self._any_worker()
        fault.began, fault.worker = time(), worker.pid
        self._stage.fleet.gone(worker)
        self._stage.fleet.start()
        worker.ask_to_stop()
        asked = time()
        await asyncio.to_thread(worker.stop, DRAIN_S)
        self.stubborn += time() - asked >= DRAIN_S

    async def _stop(self, fault: Happened) -> None:
        worker = await self._any_worker()
        fault.began, fault.worker = time(), worker.pid
        self._stage.fleet.gone(worker)  # nobody else hurts it meanwhile
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S + self._chance.uniform(0.5, 2.0))
        worker.send(signal.SIGCONT)
        self._stage.fleet.workers.append(worker)

    async def _any_worker(self) -> Child:
        """One that works, when there is another beside it: a fleet that is always dead shows nothing."""
        while len(working := self._stage.fleet.working()) < 2:  # noqa: ASYNC110 - their logs tell
            await asyncio.sleep(LOOK_S)
        return self._chance.choice(working)

    async def _busiest(self) -> Child:
        open_attempts = await self._stage.rows("select worker from rowcall.attempts where outcome is null")
        busy = Counter(process_of(attempt["worker"]) for attempt in open_attempts)
        return max(self._stage.fleet.workers, key=lambda worker: busy[worker.pid])

    # Everything else

    async def _lose_valkey(self, fault: Happened, *, keeps_data: bool) -> None:
        async with self._valkey:
            fault.began = time()
            await self._stage.valkey(keeps_data=keeps_data)

    async def _webhooks_that(self, fault: Happened, behaviour: Behaviour) -> None:
        async with self._webhooks:
            await self._misbehave(fault, self._stage.webhooks, behaviour, 1.5)

    async def _gateway_that(self, fault: Happened, behaviour: Behaviour) -> None:
        async with self._gateway:
            await self._misbehave(fault, self._stage.gateway, behaviour, self._chance.uniform(0.3, 1.2))

    @staticmethod
    async def _misbehave(fault: Happened, proxy: Proxy, behaviour: Behaviour, for_s: float) -> None:
        fault.began = time()
        proxy.behave(behaviour)
        await asyncio.sleep(for_s)
        proxy.behave("pass")

    def _model_that(self, fault: Any) -> Callable[[Happened], Awaitable[None]]:
        async def fail(_happened: Happened) -> None:
            self._stage.model.faults.append(fault)

        return fail

    async def _cancel(self, _fault: Happened) -> None:
        """The owner cancels a row that is being answered."""
        running = [row for row in self._clients.unfinished if row.updates and row.updates[-1].text]
        if running:
            await self._clients.cancel(self._chance.choice(running))


def process_of(worker: str) -> int:
    """The process id in a worker's name, host:pid:chance."""
    return int(worker.rsplit(":", 2)[1])
