"""A worker whose answers leave the event loop no turn until a file appears, which its argument names, and for three
leases more.
"""

import asyncio
import sys
import time
from pathlib import Path

from jobs.ports import Finished, Work, World
from tests.e2e.conftest import LEASE_S
from worker import app
from worker.environment import current_environment
from worker.settings import load

BEGINS, ENDS = "Let me think. ", "Thinking takes time."


async def answer(_work: Work, world: World) -> Finished:
    await world.stream.write(BEGINS)
    while not Path(sys.argv[1]).exists():  # noqa: ASYNC240 - it is the point
        time.sleep(0.05)  # noqa: ASYNC251 - as above
    time.sleep(3 * LEASE_S)  # noqa: ASYNC251 - as above
    await world.stream.write(ENDS)
    return Finished(answer=BEGINS + ENDS)


if __name__ == "__main__":
    app.JOBS = {"answer": answer}
    asyncio.run(app.run_worker(load(current_environment()).listening(None, 0)))
