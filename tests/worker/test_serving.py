import asyncio
import signal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from worker.serving import serving, stop_on_signals


def app_answering(text: str, hold: asyncio.Event | None = None) -> Starlette:
    async def answer(_request: Request) -> Response:
        if hold is not None:
            await hold.wait()
        return PlainTextResponse(text)

    return Starlette(routes=[Route("/", answer)])


async def test_two_servers_share_a_loop_and_end_with_their_blocks() -> None:
    one = serving(app_answering("one"), host="127.0.0.1", port=0, name="one")
    other = serving(app_answering("other"), host="127.0.0.1", port=0, name="other")
    async with httpx.AsyncClient() as client:
        async with one as first, other as second:
            assert (await client.get(f"http://127.0.0.1:{first}/")).text == "one"
            assert (await client.get(f"http://127.0.0.1:{second}/")).text == "other"
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{first}/")


async def test_a_request_under_way_is_answered_before_the_server_ends() -> None:
    hold = asyncio.Event()
    async with httpx.AsyncClient() as client:
        async with serving(app_answering("late", hold), host="127.0.0.1", port=0, name="x") as port:
            request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_later(0.3, hold.set)
        assert (await request).text == "late"


async def test_an_address_that_is_taken_is_an_error_and_no_exit() -> None:
    async with serving(app_answering("one"), host="127.0.0.1", port=0, name="one") as port:
        with pytest.raises(OSError, match="in use"):
            await serving(app_answering("two"), host="127.0.0.1", port=port, name="two").__aenter__()


async def test_signals_are_left_to_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving(app_answering("one"), host="127.0.0.1", port=0, name="one"):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_sigterm_sets_the_event() -> None:
    stop = stop_on_signals()
    loop = asyncio.get_running_loop()
    try:
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
