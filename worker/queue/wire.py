"""Hints as arq jobs: their names in Redis, and JSON instead of pickle, which would run what it reads."""

import json
import time
from collections.abc import Sequence
from typing import Any

from arq.jobs import serialize_job

from worker.ports import Hint

QUEUE = "rowcall:queue"  # not arq's default: a team's other arq jobs may share the Redis
FUNCTION = "run_generation"


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


def dumps(job: dict[str, Any]) -> bytes:
    # repr: arq passes an exception where it gives a job up; the results of ours are not kept.
    return json.dumps(job, separators=(",", ":"), default=repr).encode()


def loads(job: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(job)
    return read
