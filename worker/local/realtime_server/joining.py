"""A join's payload, read (pure). What is missing or of the wrong type was not asked for, as on the real server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.local.realtime_server.subscribing import Binding, parse_binding

TOPIC_PREFIX = "realtime:"
DEFAULT_WAIT_MS = 15_000
LONGEST_WAIT_MS = 20_000


class JoinRefused(Exception):
    """The reason is for the client."""


@dataclass(frozen=True, slots=True)
class Wish:
    private: bool
    ack: bool  # answer each broadcast of mine
    self_broadcast: bool  # send me my own
    replication_ready: bool  # tell me when database sends arrive
    postgres_changes: tuple[Mapping[str, Any], ...]
    wait_s: float | None  # hold the answer until the subscription stands
    token: str | None  # None: the connection's key counts

    def bindings(self) -> tuple[Binding, ...]:
        """InvalidSubscription when one of them makes no sense."""
        return tuple(parse_binding(params) for params in self.postgres_changes)


def read_wish(topic: str, payload: Mapping[str, Any]) -> Wish:
    """JoinRefused for what this server does not serve."""
    if topic == TOPIC_PREFIX:
        raise JoinRefused("TopicNameRequired: You must provide a topic name")
    config = _mapping(payload.get("config"))
    broadcast = _mapping(config.get("broadcast"))
    if _mapping(config.get("presence")).get("enabled") is True:
        raise JoinRefused("PresenceNotServed: the local Realtime server has no presence; join without it")
    if broadcast.get("replay") is not None:
        raise JoinRefused("UnableToReplayMessages: the local Realtime server does not replay messages")
    changes = config.get("postgres_changes")
    token = payload.get("access_token") or payload.get("user_token")
    return Wish(
        private=config.get("private") is True,
        ack=broadcast.get("ack") is True,
        self_broadcast=broadcast.get("self") is True,
        replication_ready=broadcast.get("replication_ready") is True,
        postgres_changes=tuple(entry for entry in changes if isinstance(entry, dict))
        if isinstance(changes, list)
        else (),
        wait_s=_wait_s(_mapping(config.get("postgres_changes_options"))),
        token=token if isinstance(token, str) else None,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _wait_s(options: Mapping[str, Any]) -> float | None:
    if options.get("wait") is not True:
        return None
    timeout_ms = options.get("timeout")
    wanted_ms = timeout_ms if isinstance(timeout_ms, int | float) else DEFAULT_WAIT_MS
    return min(max(wanted_ms, 0), LONGEST_WAIT_MS) / 1000
