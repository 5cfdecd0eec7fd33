"""A worker whose answers compute for three leases, and leave the event loop no turn meanwhile."""

import asyncio
import time

from jobs.ports import Finished, Work, World
from tests.e2e.conftest import LEASE_S
from worker import app
from worker.environment import current_environment
from worker.settings import load

BEGINS, ENDS = "Let me think. ", "Thinking takes time."


async def answer(_work: Work, world: World) -> Finished:
    await world.stream.write(BEGINS)
    time.sleep(3 * LEASE_S)  # noqa: ASYNC251 - it is the point
    await world.stream.write(ENDS)
    return Finished(answer=BEGINS + ENDS)


if __name__ == "__main__":
    app.JOBS = {"answer": answer}
    asyncio.run(app.run_worker(load(current_environment()).listening(None, 0)))
