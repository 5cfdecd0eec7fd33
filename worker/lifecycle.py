"""The states of a generation and the moves between them.

Pure. `rowcall.move_is_allowed` in SQL and the picture in the docs are compared with this table.
"""

from typing import Literal, get_args

Status = Literal["queued", "running", "succeeded", "failed", "refused", "review", "canceled"]
Verb = Literal["claim", "retry", "release", "finish", "fail", "refuse", "cancel", "replay"]

STATUSES: tuple[Status, ...] = get_args(Status)
UNFINISHED: frozenset[Status] = frozenset({"queued", "running"})

MOVES: frozenset[tuple[Verb, Status, Status]] = frozenset(
    {
        ("claim", "queued", "running"),
        ("claim", "running", "running"),  # after a lease that ended
        ("retry", "running", "queued"),
        ("release", "running", "queued"),
        ("finish", "running", "succeeded"),
        ("finish", "running", "review"),
        ("fail", "running", "failed"),
        ("refuse", "running", "refused"),
        ("cancel", "queued", "canceled"),
        ("cancel", "running", "canceled"),
        ("cancel", "canceled", "canceled"),  # its worker adds what it had
        ("replay", "failed", "queued"),
        ("replay", "refused", "queued"),
        ("replay", "review", "queued"),
        ("replay", "canceled", "queued"),
    }
)


def move_is_allowed(before: Status, after: Status) -> bool:
    return any((before, after) == (a, b) for _, a, b in MOVES)
