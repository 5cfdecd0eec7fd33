"""The loop of a worker: takes hints as they come, runs them, says how they ended. On arq's keys, without arq's polling.

Idle, it waits for a token that whoever enqueues leaves; busy, each call to Redis ends what has ended and takes as much
anew. Nothing that Redis does ends it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.queue.connecting import require_safe_server
from worker.queue.heartbeat import Heartbeat
from worker.queue.jobs import Ended, Given
from worker.queue.link import Argument, Link
from worker.queue.places import Places
from worker.queue.reach import Reach
from worker.queue.renewing import HintLeases
from worker.queue.scripts import LANES, read_script
from worker.queue.wire import RunHint, aborted_result
from worker.renewing import STUCK_S, RenewingThread
from worker.telemetry import Metrics

log = structlog.get_logger()

WAIT_S = 0.5  # for a token: what arq's own API enqueues leaves none, and is found by looking
STEP = read_script("step")
RECALL = read_script("recall")
BRISK_S = 0.01
STEP_ENDS = 1000  # in one call
FLUSH_S = 5.0  # when the worker stops: for Redis to take the last ends
OUTAGES = (RedisError, OSError)


@dataclass(frozen=True, slots=True)
class Claiming:
    """How a process takes hints."""

    max_jobs: int
    grace_s: float  # for running jobs, when the process stops
    lease_s: float = 15.0  # the jobs of a process that died are given out again after so long
    weights: Mapping[str, int] = field(default_factory=lambda: {"interactive": 4, "bulk": 1})
    stuck_s: float = STUCK_S  # an event loop that has not turned for so long renews nothing
    tenant_places: int | None = None  # jobs of one tenant that run at once, in the fleet


class HintWorker:
    """Runs hints by `run`. An outage of Redis ends no job: what runs goes on, its end is told when Redis is back."""

    def __init__(self, redis: ArqRedis, run: RunHint, claiming: Claiming, metrics: Metrics) -> None:
        self._redis = redis
        self._claiming = claiming
        self._metrics = metrics
        self._queue_name = redis.default_queue_name
        self._waiting, self._stepping = Link(redis, self._queue_name), Link(redis, self._queue_name)
        self._turn = asyncio.Lock()  # of the stepping link
        self._reach = Reach()
        self._owner = uuid4().hex[:12]
        self._places = Places(run, claiming.max_jobs, self._queue_name, self._end)
        self._ended: list[Ended] = []
        self._is_stopping = False
        self._is_brisk = False  # jobs are over at once
        self._has_unheard = False  # a claim failed: it may have been given jobs
        self._is_waiting = False  # for a token: ends do not travel with a claim
        self._has_place, self._has_ended = asyncio.Event(), asyncio.Event()
        self._leases = HintLeases(
            redis, self._queue_name, lease_s=claiming.lease_s, held=self._places.held, lost=self._lost_from_thread
        )
        self._renewing = RenewingThread(
            self._leases.renew, name="hints", lease_s=claiming.lease_s, stuck_s=claiming.stuck_s
        )

    @property
    def running(self) -> int:
        return len(self._places.running)

    async def unready(self) -> tuple[str, ...]:
        """Why this worker should be given no work: for the readiness check."""
        return (*self._reach.reasons, *(("worker.draining",) if self._is_stopping else ()))

    async def work(self, stop: asyncio.Event) -> None:
        """Runs hints until `stop` is set; then takes none, and cancels those that are not done after the grace period.

        Raises UnsafeRedis where the server's settings lose jobs.
        """
        claiming = asyncio.create_task(self._claim_until_stopped())
        heartbeat = Heartbeat(self._redis, self._queue_name, self._owner, self._places.running)
        others = [asyncio.create_task(c) for c in (self._flush_forever(), heartbeat.beat_forever())]
        stopping = asyncio.create_task(stop.wait())
        self._renewing.start()
        try:
            await asyncio.wait({claiming, stopping, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            try:
                await self._wind_down(claiming, self._claiming.grace_s if stop.is_set() else 0.0)
            finally:
                await self._renewing.stop()
                self._leases.close()
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                await self._waiting.close()
                await self._stepping.close()
        for task in (claiming, *others):
            if not task.cancelled():
                task.result()  # raises: what ended it was no outage

    # Taking

    async def _claim_until_stopped(self) -> None:
        await self._check_server()
        more_in_ms = 0
        while not self._is_stopping:
            free = self._places.free
            if free <= 0:
                self._has_place.clear()
                await self._has_place.wait()
                await asyncio.sleep(0)  # others end in this turn of the loop as well
                continue
            try:
                if self._has_unheard:
                    await self._recall()
                if more_in_ms == 0:
                    more_in_ms = await self._step(free)
                else:
                    more_in_ms = await self._wait_and_step(free, more_in_ms)
                await asyncio.sleep(0)  # what was given out starts before the next call is made
            except OUTAGES as error:
                self._has_unheard, more_in_ms = True, 0
                await self._pause(error)

    async def _check_server(self) -> None:
        while not self._is_stopping:
            try:
                await require_safe_server(self._redis)
            except OUTAGES as error:
                await self._pause(error)
            else:
                self._reach.answered()
                return

    async def _step(self, places: int) -> int:
        """Tells what has ended and takes up to `places` jobs; the ms until more is due (0: there is more; -1: unknown).

        It takes a sixteenth of the places at most, so that a place that is free waits for few others before it is
        taken; or all of them, where jobs are over at once and calls are what counts.

        Ends that Redis did not acknowledge are told again: their tokens make that harmless.
        """
        async with self._turn:
            ended, self._ended = self._ended[:STEP_ENDS], self._ended[STEP_ENDS:]
            try:
                reply = await self._stepping.call(STEP, self._arguments(min(places, self._part()), ended))
            except BaseException:
                self._ended = ended + self._ended
                raise
        return self._take(reply)

    async def _wait_and_step(self, places: int, more_in_ms: int) -> int:
        wait_s = WAIT_S if more_in_ms < 0 else min(WAIT_S, more_in_ms / 1000)
        self._is_waiting = True
        self._has_ended.set()  # what has ended before we wait
        try:
            return self._take(await self._waiting.wait_and_call(wait_s, STEP, self._arguments(places, ())))
        finally:
            self._is_waiting = False

    def _part(self) -> int:
        return self._claiming.max_jobs if self._is_brisk else -(-self._claiming.max_jobs // 16)

    async def _recall(self) -> None:
        """Hands back what a claim gave us whose reply was lost: it would wait for its lease to end."""
        async with self._turn:
            known = [*self._places.running, *(end.job.id for end in self._ended)]
            lease_ms = round(1000 * self._claiming.lease_s)
            recalled = await self._stepping.call(RECALL, [self._owner, lease_ms, *known])
        self._has_unheard = False
        if recalled:
            log.info("hints.recalled", recalled=recalled)

    def _arguments(self, places: int, ended: Sequence[Ended]) -> list[Argument]:
        claiming = self._claiming
        arguments: list[Argument] = [
            self._owner,
            round(1000 * claiming.lease_s),
            places,
            claiming.tenant_places or 0,
            *(claiming.weights[lane] for lane in LANES),
            len(ended),
        ]
        for end in ended:
            arguments += end.arguments()
        return arguments

    def _take(self, reply: Sequence[Any]) -> int:
        self._reach.answered()
        lost, more_in_ms, *given = reply
        self._lost([id.decode() for id in lost])
        for fields in given:
            self._start(Given.of(fields))
        return int(more_in_ms)

    def _start(self, job: Given) -> None:
        if self._places.runs_already(job):
            return
        if self._is_stopping:
            self._end(Ended(job, "release"))
        elif job.is_aborted:
            self._end(Ended(job, "done", result=aborted_result(job.id, self._queue_name)))
        else:
            self._metrics.hint_claimed(job.lane, job.waited_ms / 1000)
            self._places.put(job)

    # Telling

    def _end(self, ended: Ended) -> None:
        self._ended.append(ended)
        self._is_brisk = ended.ran_s < BRISK_S
        self._has_ended.set()
        self._has_place.set()

    async def _flush_forever(self) -> None:
        """Tells ends that no claim takes along: the worker waits for work, or stops."""
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            await asyncio.sleep(0)  # others end in this turn of the loop as well
            while self._ended and (self._is_waiting or self._is_stopping):
                try:
                    await self._step(0)
                except OUTAGES as error:
                    await self._pause(error)

    # Leases

    def _lost_from_thread(self, ids: Sequence[str]) -> None:
        self._renewing.tell(lambda: self._not_renewed(ids))

    def _not_renewed(self, ids: Sequence[str]) -> None:
        """Jobs that ended while they were being renewed have lost nothing."""
        self._lost([id for id in ids if id in self._places.running])

    def _lost(self, ids: Sequence[str]) -> None:
        """A lost lease cancels nothing: it paced redelivery, and the row's lease decides who runs."""
        for id in ids:
            self._metrics.hint_lease_lost()
            log.warning("hint.lease_lost", job=id, is_running=id in self._places.running)

    # Stopping, and outages

    async def _wind_down(self, claiming: "asyncio.Task[None]", grace_s: float) -> None:
        """Takes no more, waits for what runs, cancels what is left, waits until it has settled, and tells the ends."""
        self._is_stopping = True
        self._has_place.set()
        await asyncio.wait({claiming})  # a claim under way is answered within its wait: what it took is handed back
        await self._places.empty(grace_s)
        await self._flush_last()

    async def _flush_last(self) -> None:
        """What another call is just telling counts as well: if that fails, it is told again."""
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._ended or self._turn.locked():
                    try:
                        await self._step(0)
                    except OUTAGES as error:
                        await self._pause(error)
        except TimeoutError:  # their leases end, and their rows refuse a second run
            log.warning("hints.not_told", ended=len(self._ended))

    async def _pause(self, error: Exception) -> None:
        await asyncio.sleep(self._reach.failed(error, running=self.running))
