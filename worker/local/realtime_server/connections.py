"""One client's socket: frames in and out, and the Phoenix part of the protocol around its channels."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from worker.local.realtime_server.channels import Channel, Services, join, reply
from worker.local.realtime_server.joining import TOPIC_PREFIX
from worker.local.realtime_server.protocol import BroadcastPush, Frame, MalformedFrame, Message, Vsn, decode
from worker.local.realtime_server.tokens import Claims

log = structlog.get_logger()

CLOSE_S = 1.0
IDLE_S = 60.0  # Phoenix' timeout; clients send a heartbeat every 25 s
MOST_WAITING_BYTES = 32 * 1024 * 1024  # for one client that reads more slowly than we have to tell

NORMAL, INVALID_PAYLOAD, TRY_AGAIN_LATER = 1000, 1007, 1013  # RFC 6455 and its registry


class Outbox:
    """Frames for one client, in order. It never blocks whoever puts them in; it overflows."""

    def __init__(self) -> None:
        self.overflowed = asyncio.Event()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame)
        self._filled.set()
        if self._bytes > MOST_WAITING_BYTES:
            self.overflowed.set()

    async def drain(self, send: Callable[[Frame], Awaitable[None]]) -> None:
        while True:
            await self._filled.wait()
            while self._frames:
                frame = self._frames.popleft()
                self._bytes -= len(frame)
                await send(frame)
            self._filled.clear()


class SocketConnection:
    def __init__(self, services: Services, websocket: WebSocket, vsn: Vsn, key_claims: Claims) -> None:
        self.vsn = vsn
        self.key_claims = key_claims
        self._services = services
        self._websocket = websocket
        self._outbox = Outbox()
        self._channels: dict[str, Channel] = {}

    def send(self, frame: Frame) -> None:
        self._outbox.put(frame)

    def forget(self, topic: str) -> None:
        self._channels.pop(topic, None)

    async def serve(self) -> None:
        """Until the client leaves, or has to."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._outbox.drain(self._transmit))
        overflow = asyncio.create_task(self._outbox.overflowed.wait())
        try:
            await asyncio.wait({reader, writer, overflow}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for channel in tuple(self._channels.values()):
                channel.abandon()
            for task in (reader, writer, overflow):
                task.cancel()
            endings = await asyncio.gather(reader, writer, return_exceptions=True)
        if self._outbox.overflowed.is_set():
            log.warning("socket.too_slow", waiting_bytes=MOST_WAITING_BYTES)
            await self._close_unread()
            return
        for ending in endings:
            await self._close_after(ending)

    async def _close_unread(self) -> None:
        """The close frame has to wait behind what the client does not read, so it may never go out."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close(TRY_AGAIN_LATER)
        except (TimeoutError, WebSocketDisconnect):
            return

    async def _close_after(self, ending: BaseException | None) -> None:
        match ending:
            case TimeoutError():
                await self._websocket.close(NORMAL)
            case MalformedFrame():
                log.warning("socket.malformed_frame", reason=str(ending))
                await self._websocket.close(INVALID_PAYLOAD)
            case None | WebSocketDisconnect() | asyncio.CancelledError():
                return
            case _:
                raise ending

    async def _transmit(self, frame: Frame) -> None:
        if isinstance(frame, str):
            await self._websocket.send({"type": "websocket.send", "text": frame})
        else:
            await self._websocket.send({"type": "websocket.send", "bytes": frame})

    async def _read(self) -> None:
        """Ends by what it raises: WebSocketDisconnect, TimeoutError or MalformedFrame."""
        while True:
            async with asyncio.timeout(IDLE_S):
                received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1005))
            frame = received.get("text")
            await self._dispatch(decode(self.vsn, received["bytes"] if frame is None else frame))

    async def _dispatch(self, message: Message | BroadcastPush) -> None:
        channel = self._channels.get(message.topic)
        event = message.event if isinstance(message, Message) else "broadcast"
        if message.topic == "phoenix" and event == "heartbeat":
            reply(self, message, "ok", {})
        elif isinstance(message, Message) and event == "phx_join" and message.topic.startswith(TOPIC_PREFIX):
            if channel is not None:  # the client rejoins: the old one ends first
                channel.close()
            joined = await join(self._services, self, message)
            if joined is not None:
                self._channels[message.topic] = joined
        elif channel is not None:
            await channel.handle(message)
        elif event == "phx_leave":
            reply(self, message, "ok", {})
        else:
            reply(self, message, "error", {"reason": "unmatched topic"})
