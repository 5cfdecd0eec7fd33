"""Ports of the embedded stack, which listens on the loopback alone, on an address that containers reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@asynccontextmanager
async def forwarded(address: str, *ports: int) -> AsyncIterator[None]:
    """`address:port` leads to `127.0.0.1:port` while the block runs."""
    forwards = [Forward(port) for port in ports]
    servers = [await asyncio.start_server(forward.serve, address, forward.port) for forward in forwards]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for forward in forwards:
            await forward.end()


@dataclass
class Forward:
    port: int
    serving: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        except (OSError, asyncio.CancelledError):
            return  # one of the ends has gone, or the block has ended
        finally:
            writer.close()
            self.serving.discard(task)

    async def end(self) -> None:
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
