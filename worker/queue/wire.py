"""Hints as arq jobs: their names in Redis, and JSON instead of pickle, which would run what it reads."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from arq.jobs import serialize_job, serialize_result

from worker.ports import Hint

QUEUE = "rowcall:queue"  # not arq's default: a team's other arq jobs may share the Redis
FUNCTION = "run_generation"


ABORTED = repr(asyncio.CancelledError())

RunHint = Callable[[Hint], Awaitable[None]]


class UnreadableHint(Exception):
    """A job's arguments are not a hint's; the message describes them."""


def job_id(hint: Hint) -> str:
    """The same for every hint of one claim to come: arq keeps one job of a name."""
    return f"{hint.id}:{hint.attempt}"


def payload(hint: Hint) -> bytes:
    """The hint as a job of arq's."""
    arguments = (hint.id, hint.attempt, hint.kind, hint.lane, hint.tenant)
    return serialize_job(FUNCTION, arguments, {}, None, round(time.time() * 1000), serializer=dumps)


def hint_of(arguments: Sequence[Any]) -> Hint:
    match arguments:
        case [str(id), int(attempt), str(kind), str(lane), str() | None as tenant]:
            return Hint(id, attempt, kind, lane, tenant)
        case _:
            raise UnreadableHint(f"{FUNCTION} was called with ({', '.join(type(a).__name__ for a in arguments)})")


def hint_in(payload: bytes | None) -> Hint:
    """The hint of a job as it stands in Redis; None: it has expired there. Raises UnreadableHint."""
    if payload is None:
        raise UnreadableHint("the job's payload has expired")
    try:
        job = loads(payload)
    except ValueError as error:  # not JSON, or no object
        raise UnreadableHint("the job's payload is no job in JSON") from error
    if job.get("f") != FUNCTION:
        raise UnreadableHint(f"the job is not a call of {FUNCTION}")
    return hint_of(job["a"])


def aborted_result(job_id: str, queue_name: str) -> bytes:
    """What `Job.abort` waits for."""
    now_ms = round(time.time() * 1000)
    error = asyncio.CancelledError()
    result = serialize_result(
        FUNCTION, (), {}, 1, now_ms, False, error, now_ms, now_ms, job_id, queue_name, job_id, serializer=dumps
    )
    if result is None:  # as arq types it; all of this is JSON
        raise UnreadableHint("the result cannot be written")
    return result


def dumps(job: dict[str, Any]) -> bytes:
    # repr: arq passes an exception where it gives a job up.
    return json.dumps(job, separators=(",", ":"), default=repr).encode()


def loads(job: bytes) -> dict[str, Any]:
    """A job, or a result. The one exception that a result may hold comes back as one: `Job.abort` asks for it."""
    read: Any = json.loads(job.decode())
    if not isinstance(read, dict):
        raise ValueError("a job is an object")  # noqa: TRY004 - as what is not JSON
    if read.get("s") is False and read.get("r") == ABORTED:
        read["r"] = asyncio.CancelledError()
    return read
