"""Runs a module as `python -m` does, and notes each HTTP request that it makes through httpx, as supabase-py does.

python counted.py <log> <module> <arguments…>      a line per request: method and path
"""

import runpy
import sys
from pathlib import Path

import httpx


def count_requests(log: Path) -> None:
    lines = log.open("a", buffering=1)
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def noted(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        lines.write(f"{request.method} {request.url.path}\n")
        return await send(transport, request)

    httpx.AsyncHTTPTransport.handle_async_request = noted  # type: ignore[assignment,method-assign] # for every client made from here on


def main() -> None:
    log, module, *arguments = sys.argv[1:]
    count_requests(Path(log))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
