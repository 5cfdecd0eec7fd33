"""A wire to Redis that a test may block, cut, or make answer in the server's place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.valkey import Valkey
from worker.local.ports import free_port


class Wire:
    """`is_open`: bytes go through; else they vanish, as in a network that swallows them. `cut_reply`: a reply that
    contains it is not delivered, and its connection ends. `refusal`: what every command is answered with.
    """

    def __init__(self, target: Valkey) -> None:
        self.port = free_port()
        self.url = target.url.replace(f":{target.port}/", f":{self.port}/")
        self.is_open = True
        self.cut_reply: bytes | None = None
        self.cuts = 0
        self.refusal: bytes | None = None
        self._target = target.port
        self._writers: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        try:
            ways = [self._commands(reader, writer, far_writer), self._replies(far_reader, writer)]
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._writers -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def _commands(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(65536):
            if self.refusal is not None:
                writer.write(self.refusal)
            elif self.is_open:
                far.write(chunk)

    async def _replies(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await far.read(65536):
            if self.cut_reply is not None and self.cut_reply in chunk:
                self.cut_reply, self.cuts = None, self.cuts + 1
                return
            if self.is_open:
                writer.write(chunk)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def wire_to(server: Valkey) -> AsyncIterator[Wire]:
    wire = Wire(server)
    listening = await asyncio.start_server(wire.connect, "127.0.0.1", wire.port)
    try:
        yield wire
    finally:
        listening.close()
        wire.hang_up()
        await asyncio.sleep(0)
