"""A way to a port of this machine: on another address, or one that a test can cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@asynccontextmanager
async def forwarded(address: str, *ports: int) -> AsyncIterator[None]:
    """`address:port` leads to `127.0.0.1:port` while the block runs."""
    async with AsyncExitStack() as forwards:
        for port in ports:
            await forwards.enter_async_context(forwarding(port, address, port))
        yield


@asynccontextmanager
async def forwarding(target: int, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator["Forward"]:
    """`address:port` leads to `127.0.0.1:target` while the block runs; 0: a free port."""
    forward = Forward(target)
    server = await asyncio.start_server(forward.serve, address, port)
    forward.port = server.sockets[0].getsockname()[1]
    try:
        yield forward
    finally:
        server.close()
        await forward.cut()


@dataclass
class Forward:
    target: int
    port: int = 0
    is_down: bool = False  # new connections are closed at once
    serving: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            if self.is_down:
                return
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        except (OSError, asyncio.CancelledError):
            return  # one of the ends has gone, or the block has ended
        finally:
            writer.close()
            self.serving.discard(task)

    async def go_down(self, seconds: float) -> None:
        """Cuts every connection and serves no new one; returns at once, and comes back by itself."""
        self.is_down = True
        asyncio.get_running_loop().call_later(seconds, self._come_back)
        await self.cut()

    def _come_back(self) -> None:
        self.is_down = False

    async def cut(self) -> None:
        """Ends every connection that there is. New ones are served."""
        serving = list(self.serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        with suppress(OSError):
            writer.close()
