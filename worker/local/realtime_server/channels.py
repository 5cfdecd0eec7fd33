"""One client on one topic: what it asked for at its join, who it is, and what its messages do.

Source: supabase/realtime, `RealtimeChannel` and `BroadcastHandler`. A refused join is answered at once; the real
server waits for five seconds, to slow down clients that try again and again.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from worker.local.realtime_server.access import Access
from worker.local.realtime_server.catalogue import Catalogue
from worker.local.realtime_server.database import DatabaseUnavailable
from worker.local.realtime_server.hub import Hub, Room, Subscription
from worker.local.realtime_server.joining import TOPIC_PREFIX, JoinRefused, Wish, read_wish
from worker.local.realtime_server.protocol import BroadcastPush, Frame, Message, Vsn, encode
from worker.local.realtime_server.subscribing import InvalidSubscription
from worker.local.realtime_server.tokens import Claims, Keyring, TokenRefused, is_api_key

log = structlog.get_logger()

RETRY_AFTER_S = 0.5  # while Postgres is away
MOST_PAYLOAD_BYTES = 3_000_000

NO_DATABASE = "Realtime was unable to connect to the project database"
NO_PRESENCE = "PresenceNotServed: the local Realtime server has no presence"


@dataclass(frozen=True, slots=True)
class Services:
    """What all channels share."""

    keyring: Keyring
    hub: Hub
    catalogue: Catalogue
    access: Access
    streaming: asyncio.Event  # the WAL is being read


class Connection(Protocol):
    """The client's socket, as far as its channels know it."""

    @property
    def vsn(self) -> Vsn: ...
    @property
    def key_claims(self) -> Claims:
        """Of the API key that the socket was opened with."""

    def send(self, frame: Frame) -> None: ...
    def forget(self, topic: str) -> None: ...


async def join(services: Services, connection: Connection, message: Message) -> "Channel | None":
    """The channel, open and answered, or None when the answer was a refusal."""
    try:
        wish = read_wish(message.topic, message.payload)
        channel = Channel(services, connection, message, wish)
        await channel.admit(wish.token)
        if wish.wait_s is not None and wish.postgres_changes:
            await channel.subscribe_before_answering(wish.wait_s)
    except (JoinRefused, TokenRefused, DatabaseUnavailable) as error:
        reason = f"UnableToConnectToProject: {NO_DATABASE}" if isinstance(error, DatabaseUnavailable) else str(error)
        log.info("join.refused", topic=message.topic, reason=reason)
        reply(connection, message, "error", {"reason": reason})
        return None
    channel.open(message)
    return channel


def reply(connection: Connection, to: Message | BroadcastPush, status: str, response: dict[str, Any]) -> None:
    payload = {"status": status, "response": response}
    connection.send(encode(connection.vsn, Message(to.topic, "phx_reply", payload, to.ref, to.join_ref)))


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task of which one hears when it fails."""
    task = asyncio.create_task(work)
    task.add_done_callback(report_failure)
    return task


def report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("channel.task_failed", exc_info=error)


class Channel:
    def __init__(self, services: Services, connection: Connection, joined_by: Message, wish: Wish) -> None:
        self.topic = joined_by.topic
        self.join_ref = joined_by.join_ref
        self.claims = connection.key_claims
        self._services = services
        self._connection = connection
        self._wish = wish
        self._room = Room(self.topic.removeprefix(TOPIC_PREFIX), wish.private)
        self._ids = tuple(services.hub.new_id() for _ in wish.postgres_changes)
        self._subscriptions: tuple[Subscription, ...] = ()
        self._token: str | None = None
        self._may_send: bool | None = None  # not asked yet
        self._expiry: asyncio.TimerHandle | None = None
        self._subscribing: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None

    @property
    def vsn(self) -> Vsn:
        return self._connection.vsn

    def send(self, frame: Frame) -> None:
        self._connection.send(frame)

    # Joining

    async def admit(self, token: str | None) -> None:
        """Takes on the identity of the token. TokenRefused, or JoinRefused when it may not read a private topic."""
        claims = self._connection.key_claims
        if token is not None and not is_api_key(token):
            claims = self._services.keyring.claims_of_token(token, time.time())
        if self._room.private and not await self._services.access.may("read", self._room.name, claims):
            raise JoinRefused(
                f"Unauthorized: You do not have permissions to read from this Channel topic: {self._room.name}",
            )
        self.claims, self._token, self._may_send = claims, token, None

    async def subscribe_before_answering(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._watch()
        except InvalidSubscription as error:
            raise JoinRefused(f"RealtimeDisabledForConfiguration: {error}") from error
        except TimeoutError as error:
            raise JoinRefused(
                f"PostgresChangesSubscribeTimeout: Timed out after {wait_s * 1000:.0f}ms waiting for the "
                "postgres_changes subscription",
            ) from error

    def open(self, message: Message) -> None:
        self._services.hub.join(self._room, self)
        self._watch_expiry()
        echo = [{**params, "id": id_} for params, id_ in zip(self._wish.postgres_changes, self._ids, strict=True)]
        reply(self._connection, message, "ok", {"postgres_changes": echo})
        if self._subscriptions:
            self._say("postgres_changes", "ok", "Subscribed to PostgreSQL")
        elif echo:
            self._subscribing = start(self._subscribe())
        if self._wish.replication_ready:
            self._announcing = start(self._announce_replication())

    async def _announce_replication(self) -> None:
        await self._services.streaming.wait()
        self._say("system", "ok", "Replication connection established")

    # Watching tables

    async def _subscribe(self) -> None:
        try:
            await self._watch()
        except InvalidSubscription as error:
            self._unwatch()
            log.info("subscription.refused", topic=self.topic, reason=str(error))
            self._say("postgres_changes", "error", str(error))
        else:
            self._say("postgres_changes", "ok", "Subscribed to PostgreSQL")

    async def _watch(self) -> None:
        """Returns when every change from now on will be looked at. InvalidSubscription: none will."""
        while True:
            await self._services.streaming.wait()
            try:
                subscriptions = await self._resolve()
                break
            except DatabaseUnavailable:
                await asyncio.sleep(RETRY_AFTER_S)
        self._unwatch()
        for subscription in subscriptions:
            self._services.hub.watch(subscription)
        self._subscriptions = subscriptions

    async def _resolve(self) -> tuple[Subscription, ...]:
        catalogue = self._services.catalogue
        subscriptions = [
            Subscription(id_, self, binding) for id_, binding in zip(self._ids, self._wish.bindings(), strict=True)
        ]
        for subscription in subscriptions:
            for table_oid in await catalogue.published(subscription.binding):
                conditions = await catalogue.conditions(subscription.binding, table_oid, self.claims)
                subscription.conditions[table_oid] = conditions
        return tuple(subscriptions)

    def _unwatch(self) -> None:
        for subscription in self._subscriptions:
            self._services.hub.unwatch(subscription)
        self._subscriptions = ()

    # What the client sends

    async def handle(self, message: Message | BroadcastPush) -> None:
        if isinstance(message, BroadcastPush):
            await self._broadcast(message)
            return
        match message.event:
            case "phx_leave":
                if message.join_ref in {self.join_ref, None}:
                    reply(self._connection, message, "ok", {})
                    self.close()
            case "access_token":
                await self._refresh(message.payload.get("access_token"))
            case "presence":
                reply(self._connection, message, "error", {"reason": NO_PRESENCE})
            case _:
                log.info("message.unexpected", topic=self.topic, event_name=message.event)

    async def _broadcast(self, push: BroadcastPush) -> None:
        """Without permission nothing happens, and nothing is answered."""
        if self._room.private and not await self._allowed_to_send():
            return
        if len(push.broadcast.payload) > MOST_PAYLOAD_BYTES:
            if self._wish.ack:
                reply(self._connection, push, "error", {"reason": "payload_size_exceeded"})
            return
        except_me = None if self._wish.self_broadcast else self
        self._services.hub.publish(self._room, push.broadcast, to_all_but=except_me)
        if self._wish.ack:
            reply(self._connection, push, "ok", {})

    async def _allowed_to_send(self) -> bool:
        """Asked once per token."""
        if self._may_send is None:
            try:
                self._may_send = await self._services.access.may("send", self._room.name, self.claims)
            except DatabaseUnavailable:
                log.warning("broadcast.dropped", topic=self.topic, reason="database unavailable")
                return False
        return self._may_send

    async def _refresh(self, token: object) -> None:
        if not isinstance(token, str) or is_api_key(token) or token == self._token:
            return
        try:
            await self.admit(token)
        except TokenRefused as error:
            self.shut_down(error.message)
        except JoinRefused as error:
            self.shut_down(str(error).removeprefix("Unauthorized: "))
        except DatabaseUnavailable:
            self.shut_down(NO_DATABASE)
        else:
            self._watch_expiry()
            if self._ids:
                self._stop(self._subscribing)
                self._subscribing = start(self._subscribe())

    # The end

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        expires_at = self.claims.expires_at
        if expires_at is not None:
            left_s = max(0.0, expires_at - time.time())
            self._expiry = asyncio.get_running_loop().call_later(left_s, self._expire, expires_at)

    def _expire(self, expired_at: float) -> None:
        if time.time() < expired_at:  # the clock was set back, or the timer was early
            self._watch_expiry()
        else:
            self.shut_down(f"Token has expired {int(time.time() - expired_at)} seconds ago")

    def shut_down(self, reason: str) -> None:
        """Tells the client why, then closes."""
        log.info("channel.shut_down", topic=self.topic, reason=reason)
        self._say("system", "error", reason)
        self.close()

    def close(self) -> None:
        """Tells the client."""
        self.abandon()
        self._connection.send(encode(self.vsn, Message(self.topic, "phx_close", {}, self.join_ref, self.join_ref)))
        self._connection.forget(self.topic)

    def abandon(self) -> None:
        """Ends without a word: the client has gone."""
        self._unwatch()
        self._services.hub.leave(self._room, self)
        for task in (self._subscribing, self._announcing):
            self._stop(task)
        if self._expiry is not None:
            self._expiry.cancel()

    def _stop(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _say(self, extension: str, status: str, message: str) -> None:
        payload = {"extension": extension, "status": status, "message": message, "channel": self._room.name}
        self._connection.send(encode(self.vsn, Message(self.topic, "system", payload, None, self.join_ref)))
