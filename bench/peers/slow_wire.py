"""A wire to Redis that takes 1 ms each way: slow_wire.py PORT OF_REDIS."""

import asyncio
import sys

DELAY_S = 0.001
PORT, TARGET = int(sys.argv[1]), int(sys.argv[2])


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while chunk := await reader.read(65536):
        loop.call_later(DELAY_S, writer.write, chunk)
    loop.call_later(DELAY_S, writer.close)  # after what is still on the wire


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", TARGET)
    await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True)


async def main() -> None:
    server = await asyncio.start_server(connect, "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
