"""What arq's own worker needs to run our hints."""

from typing import Any

import structlog
from arq.worker import Function, Retry, func

from worker.ports import NotClaimed
from worker.queue.wire import FUNCTION, RunHint, UnreadableHint, hint_of

log = structlog.get_logger()

AGAIN_S = 1.0  # after a database that did not answer
ATTEMPT_LIMIT_S = 86_400.0  # our own timeout ends an attempt; arq's is only there because arq wants one


def job_function(run: RunHint) -> Function:
    """`run` as a function of arq's. Its own tries and results are not used: the row is the record.

    `max_tries` has no meaning for us, and arq drops, unrun, a job that it gave out more often.
    """

    async def run_generation(ctx: dict[Any, Any], *arguments: Any) -> None:  # noqa: ARG001 - arq passes it by position
        try:
            await run(hint_of(arguments))
        except UnreadableHint as error:
            log.error("hint.unreadable", problem=str(error))
        except NotClaimed as error:
            raise Retry(defer=AGAIN_S) from error

    return func(run_generation, name=FUNCTION, keep_result=0, timeout=ATTEMPT_LIMIT_S, max_tries=1_000_000)
