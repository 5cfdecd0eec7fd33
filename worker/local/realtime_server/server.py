"""The process: `python -m worker.local.realtime_server --port N`.

Reads LOCAL_DB_URL (a superuser's), SUPABASE_JWT_SECRET, SUPABASE_PUBLISHABLE_KEY and SUPABASE_SECRET_KEY.
"""

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from worker.local.realtime_server.access import Access
from worker.local.realtime_server.broadcasting import (
    RequestRefused,
    answer_refusal,
    broadcast_batch,
    broadcast_single,
)
from worker.local.realtime_server.catalogue import Catalogue
from worker.local.realtime_server.channels import Services
from worker.local.realtime_server.connections import SocketConnection
from worker.local.realtime_server.database import Database, DatabaseUnavailable
from worker.local.realtime_server.feed import Feed
from worker.local.realtime_server.hub import Hub
from worker.local.realtime_server.pgoutput import Transaction
from worker.local.realtime_server.protocol import Vsn
from worker.local.realtime_server.tokens import Keyring, TokenRefused
from worker.local.realtime_server.wal import WalReader

log = structlog.get_logger()

MOST_FRAME_BYTES = 5_000_000  # as the real server takes
BROADCAST = "/realtime/v1/api/broadcast"


async def open_socket(websocket: WebSocket) -> None:
    services: Services = websocket.state.services
    try:
        key_claims = services.keyring.claims_of_key(websocket.query_params.get("apikey", ""), time.time())
    except TokenRefused as error:
        log.info("socket.refused", reason=str(error))
        await websocket.send_denial_response(JSONResponse({"message": "Unauthorized"}, 401))
        return
    vsn = Vsn.V2 if websocket.query_params.get("vsn", "").startswith("2") else Vsn.V1
    await websocket.accept()
    await SocketConnection(services, websocket, vsn, key_claims).serve()


class RealtimeServer:
    """WAL to websockets. One event loop, and a thread that reads the WAL."""

    def __init__(self, dsn: str, keyring: Keyring) -> None:
        hub = Hub()
        # Joins and changes do not wait for each other.
        self._databases = (Database(dsn), Database(dsn))
        joining, feeding = self._databases
        self._streaming = asyncio.Event()
        self.services = Services(keyring, hub, Catalogue(joining), Access(joining), self._streaming)
        self._feed = Feed(hub, Catalogue(feeding), Access(feeding))
        self._batches: asyncio.Queue[list[Transaction]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._reader = WalReader(
            dsn,
            deliver=lambda batch: self._call(self._batches.put_nowait, batch),
            started=lambda: self._call(self._streaming.set),
            stopped=lambda: self._call(self._streaming.clear),
        )

    async def run(self, port: int) -> None:
        """Until SIGTERM or SIGINT, or until something fails that should not."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(asyncio.to_thread(self._reader.run))
            feeding = tasks.create_task(self._feed_forever())
            try:
                await self._streaming.wait()
                await uvicorn.Server(self._web_server(port)).serve()
            finally:
                self._reader.stop()
                feeding.cancel()
                await asyncio.gather(*(database.close() for database in self._databases))
                await reading

    def _web_server(self, port: int) -> uvicorn.Config:
        routes = [
            WebSocketRoute("/realtime/v1/websocket", open_socket),
            Route(BROADCAST, broadcast_batch, methods=["POST"]),
            Route(BROADCAST + "/{topic:path}/events/{event:path}", broadcast_single, methods=["POST"]),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={RequestRefused: answer_refusal})
        return uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            ws="websockets-sansio",
            ws_max_size=MOST_FRAME_BYTES,
            ws_per_message_deflate=False,  # costs more than it saves on one machine
            ws_ping_interval=None,  # clients send heartbeats
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[dict[str, Services]]:
        yield {"services": self.services}

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """From the reader's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    async def _feed_forever(self) -> None:
        while True:
            transactions = await self._batches.get()
            batches = 1
            while not self._batches.empty():  # what came meanwhile shares the questions to the database
                transactions += self._batches.get_nowait()
                batches += 1
            await self._feed_one(transactions)
            self._reader.worked_off(batches)

    async def _feed_one(self, transactions: list[Transaction]) -> None:
        try:
            await self._feed.deliver(transactions)
        except DatabaseUnavailable:
            log.warning("changes.lost", transactions=len(transactions), reason="database unavailable")
        except Exception:
            # Whatever is wrong with these changes, the next ones are others.
            log.exception("changes.lost", transactions=len(transactions))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.local.realtime_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(arguments.port))


async def serve(port: int) -> None:
    keyring = Keyring(
        jwt_secret=os.environ["SUPABASE_JWT_SECRET"],
        publishable_key=os.environ["SUPABASE_PUBLISHABLE_KEY"],
        secret_key=os.environ["SUPABASE_SECRET_KEY"],
    )
    await RealtimeServer(os.environ["LOCAL_DB_URL"], keyring).run(port)
