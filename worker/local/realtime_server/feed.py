"""From committed transactions to frames: who watches, who may see it, what they are told. The order is the commits'."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from worker.local.realtime_server.access import Access, Key, Reach
from worker.local.realtime_server.catalogue import Catalogue, Table
from worker.local.realtime_server.hub import Hub, Member, Room, Subscription
from worker.local.realtime_server.payloads import (
    NO_PRIMARY_KEY,
    NOT_READABLE,
    POLICY_FAILED,
    change_data,
    error_data,
)
from worker.local.realtime_server.pgoutput import Change, ChangeKind, Transaction
from worker.local.realtime_server.protocol import Broadcast, encode_change
from worker.local.realtime_server.subscribing import InvalidSubscription
from worker.local.realtime_server.tokens import Claims

log = structlog.get_logger()

MESSAGES = ("realtime", "messages")
MOST_CHANGES = 500  # of one large transaction, at once


@dataclass(frozen=True, slots=True)
class Sent:
    """By `realtime.send`."""

    xid: int
    room: Room
    broadcast: Broadcast


@dataclass(frozen=True, slots=True)
class Watched:
    """A change that passes the filters of these subscriptions. Whoever refreshes a token meanwhile is judged by the
    one that counted when the change came.
    """

    xid: int
    committed_at: datetime
    table: Table
    change: Change
    audience: tuple[tuple[Subscription, Claims], ...]

    @property
    def key(self) -> Key:
        change = self.change
        return tuple(change.new.get(name, change.old.get(name)) for name in self.table.primary_key)


class Feed:
    def __init__(self, hub: Hub, catalogue: Catalogue, access: Access) -> None:
        self._hub = hub
        self._catalogue = catalogue
        self._access = access
        self._tables: dict[int, Table] = {}

    async def deliver(self, transactions: Sequence[Transaction]) -> None:
        """DatabaseUnavailable: these are lost."""
        changes = [(transaction, change) for transaction in transactions for change in transaction.changes]
        for start in range(0, len(changes), MOST_CHANGES):
            await self._deliver(changes[start : start + MOST_CHANGES])

    async def _deliver(self, changes: Sequence[tuple[Transaction, Change]]) -> None:
        news = [item for transaction, change in changes for item in await self._news(transaction, change)]
        if not news:
            return
        reach = await self._reach(news)
        for item in news:
            if isinstance(item, Sent):
                self._hub.publish(item.room, item.broadcast)
            else:
                tell(item, reach[item.table])

    async def _news(self, transaction: Transaction, change: Change) -> list[Sent | Watched]:
        news: list[Sent | Watched] = []
        relation = change.relation
        if (relation.schema, relation.table) == MESSAGES and (sent := read_message(transaction, change)) is not None:
            news.append(sent)
        subscriptions = list(self._hub.watchers(change))
        if subscriptions:
            table = await self._table_of(change)
            audience = [
                (subscription, subscription.member.claims)
                for subscription in subscriptions
                if await self._passes(subscription, table, change)
            ]
            if audience:
                news.append(Watched(transaction.xid, transaction.committed_at, table, change, tuple(audience)))
        return news

    async def _table_of(self, change: Change) -> Table:
        table = await self._catalogue.table_of(change.relation)
        known = self._tables.get(change.relation.oid)
        if known is not table:
            self._tables[change.relation.oid] = table
            if known is not None:
                self._hub.forget_conditions(change.relation.oid)
        return table

    async def _passes(self, subscription: Subscription, table: Table, change: Change) -> bool:
        """The filters. They were resolved at the join, unless the table is newer than that."""
        oid, row = table.relation.oid, change.old if change.kind is ChangeKind.DELETE else change.new
        conditions = subscription.conditions.get(oid)
        if conditions is None:
            try:
                conditions = await self._catalogue.conditions(subscription.binding, oid, subscription.member.claims)
            except InvalidSubscription as error:
                log.warning("subscription.broken", table=table.relation.table, reason=str(error))
                return False
            subscription.conditions[oid] = conditions
        return all(condition.holds(row) for condition in conditions)

    async def _reach(self, news: Sequence[Sent | Watched]) -> Mapping[Table, Mapping[Claims, Reach]]:
        """What each reader may see of the news: one question per table."""
        keys: defaultdict[Table, dict[Key, None]] = defaultdict(dict)
        readers: defaultdict[Table, dict[Claims, None]] = defaultdict(dict)
        for item in news:
            if isinstance(item, Watched):
                if item.change.kind is not ChangeKind.DELETE:
                    keys[item.table][item.key] = None
                readers[item.table].update(dict.fromkeys(claims for _, claims in item.audience))
        xids = sorted({item.xid for item in news})
        if not readers:
            await self._access.await_commits(xids)
        return {
            table: await self._access.reach(table, xids, list(keys[table]), list(claims))
            for table, claims in readers.items()
        }


def read_message(transaction: Transaction, change: Change) -> Sent | None:
    """A row of realtime.messages as the message it stands for."""
    row = change.new
    event, topic, payload = row.get("event"), row.get("topic"), row.get("payload")
    if change.kind is not ChangeKind.INSERT or event is None or topic is None or payload is None:
        return None
    broadcast = Broadcast(event, payload.encode(), id=row.get("id"))
    return Sent(transaction.xid, Room(topic, private=row.get("private") == "t"), broadcast)


View = frozenset[str]  # the columns that somebody sees of a row


def tell(news: Watched, reach: Mapping[Claims, Reach]) -> None:
    """One frame per channel and view; a view is encoded once, however many have it."""
    data: dict[View | str, str] = {}
    ids: defaultdict[tuple[Member, View | str], list[int]] = defaultdict(list)
    for subscription, claims in news.audience:
        if claims not in reach:  # the table has been dropped since
            continue
        seen = view(news, reach[claims], subscription.binding.select)
        if seen is None:
            continue
        if seen not in data:
            data[seen] = data_of(news, seen, row_security=reach[claims].row_security)
        ids[subscription.member, seen].append(subscription.id)
    for (member, seen), matching in ids.items():
        member.send(encode_change(member.vsn, member.topic, matching, data[seen]))


def view(news: Watched, reach: Reach, select: tuple[str, ...] | None) -> View | str | None:
    """What to show of the row, or the error to send in its place, or None: this reader may not see it."""
    key_columns = frozenset(news.table.primary_key)
    if news.change.kind is not ChangeKind.DELETE:
        if not key_columns:
            return NO_PRIMARY_KEY
        if not key_columns <= reach.columns:
            return NOT_READABLE
        if news.key in reach.failed:
            return POLICY_FAILED
        if news.key not in reach.visible:
            return None
    return reach.columns if select is None else reach.columns & (key_columns | frozenset(select))


def data_of(news: Watched, seen: View | str, *, row_security: bool) -> str:
    if isinstance(seen, str):
        return error_data(news.change, news.committed_at, seen)
    return change_data(news.table, news.change, news.committed_at, seen, row_security=row_security)
