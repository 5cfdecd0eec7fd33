"""Who listens where: topics with their members, tables with their watchers. Nothing here waits."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from worker.local.realtime_server.filters import Condition
from worker.local.realtime_server.pgoutput import Change
from worker.local.realtime_server.protocol import Broadcast, Frame, Vsn, encode_broadcast
from worker.local.realtime_server.subscribing import ANY, Binding
from worker.local.realtime_server.tokens import Claims


class Member(Protocol):
    """A joined channel, as far as the hub knows it."""

    @property
    def vsn(self) -> Vsn: ...
    @property
    def topic(self) -> str: ...
    @property
    def claims(self) -> Claims: ...
    def send(self, frame: Frame) -> None: ...


@dataclass(frozen=True, slots=True)
class Room:
    """The private and the public topic of one name have nothing to do with each other."""

    name: str
    private: bool


@dataclass(slots=True, eq=False)
class Subscription:
    """One entry of a channel's postgres_changes. Its conditions are per table (oid): a binding may cover many."""

    id: int
    member: Member
    binding: Binding
    conditions: dict[int, tuple[Condition, ...]] = field(default_factory=dict)


class Hub:
    def __init__(self) -> None:
        self._members: defaultdict[Room, dict[Member, None]] = defaultdict(dict)
        self._watchers: defaultdict[tuple[str, str], dict[Subscription, None]] = defaultdict(dict)

        self._ids = itertools.count(1)  # 0 is no id for the clients

    def new_id(self) -> int:
        return next(self._ids)

    def join(self, room: Room, member: Member) -> None:
        self._members[room][member] = None

    def leave(self, room: Room, member: Member) -> None:
        self._members[room].pop(member, None)
        if not self._members[room]:
            del self._members[room]

    def publish(self, room: Room, broadcast: Broadcast, *, to_all_but: Member | None = None) -> None:
        """Encodes once per protocol version."""
        frames: dict[Vsn, Frame | None] = {}
        for member in self._members.get(room, ()):
            if member is to_all_but:
                continue
            if member.vsn not in frames:
                frames[member.vsn] = encode_broadcast(member.vsn, member.topic, broadcast)
            frame = frames[member.vsn]
            if frame is not None:
                member.send(frame)

    def watch(self, subscription: Subscription) -> None:
        self._watchers[subscription.binding.schema, subscription.binding.table][subscription] = None

    def unwatch(self, subscription: Subscription) -> None:
        place = (subscription.binding.schema, subscription.binding.table)
        self._watchers[place].pop(subscription, None)
        if not self._watchers[place]:
            del self._watchers[place]

    def forget_conditions(self, table_oid: int) -> None:
        """The table was altered."""
        for place in self._watchers.values():
            for subscription in place:
                subscription.conditions.pop(table_oid, None)

    def watchers(self, change: Change) -> Iterator[Subscription]:
        """Of the table and the kind of change; filters and policies have not been asked."""
        schema, table = change.relation.schema, change.relation.table
        for place in ((schema, table), (schema, ANY), (ANY, table), (ANY, ANY)):
            for subscription in self._watchers.get(place, ()):
                if subscription.binding.wants(change.kind):
                    yield subscription
