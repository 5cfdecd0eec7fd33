"""HTTP servers and signals inside our own event loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger()

CLOSE_S = 5  # for requests under way, when a server stops


class CannotListen(OSError):
    """The address is taken, not ours, or not for this user; the message says which."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone: they are the process's."""
        yield


@asynccontextmanager
async def serving(app: ASGIApp, *, host: str, port: int, name: str) -> AsyncIterator[int]:
    """Serves while the block runs; gives the port, which is a free one where 0 is asked for. Raises CannotListen when
    the address cannot be bound.
    """
    with bound(host, port) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=CLOSE_S,
        )
        config.load()  # what can fail fails here, and not in the task
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            log.info("server.started", name=name, host=host, port=port)
            yield port
        finally:
            server.should_exit = True
            await task


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; uvicorn would end the process where the address is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
