"""`python -m worker.local.model_server --port N`."""

import argparse
import contextlib
import os
import socket
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.local.model_server import protocol
from worker.local.model_server.chat import Chat
from worker.local.model_server.control import Control
from worker.local.model_server.embedding import Embedder, Embeddings
from worker.local.model_server.exchanges import Served
from worker.local.model_server.faults import Faults
from worker.local.model_server.journal import Journal
from worker.local.model_server.models import ModelList, Models
from worker.local.model_server.pacing import Pace
from worker.local.model_server.prompt_cache import PromptCache

HOST = "127.0.0.1"  # nothing here asks for a key
# As a small hosted model: a person sees it write, and does not wait for it.
FIRST_TOKEN_MS = 40.0
TOKENS_PER_S = 150.0
STOP_GRACE_S = 1  # a stream may finish its sentence, one that hangs may not keep the server


def application(models: Models, pace: Pace, embedder: Embedder) -> Starlette:
    faults, journal = Faults(), Journal()
    chat = Chat(models, faults, pace, PromptCache())
    embeddings = Embeddings(models, faults, embedder)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "embeddings": embedder.state})

    async def not_found(request: Request, _error: Exception) -> Response:
        error = protocol.ApiError(404, f"Invalid URL ({request.method} {request.url.path})")
        return JSONResponse(error.body, status_code=error.status)

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/v1/models", Served("models", ModelList(models, faults).answer, journal), methods=["GET"]),
            Route("/v1/embeddings", Served("embeddings", embeddings.answer, journal), methods=["POST"]),
            Route("/v1/chat/completions", Served("chat", chat.answer, journal), methods=["POST"]),
            *Control(faults, journal).routes(),
        ],
        exception_handlers={404: not_found},
    )


class Server(uvicorn.Server):
    """Loads the weights once it listens: who waits for the port does not wait for them."""

    def __init__(self, config: uvicorn.Config, embedder: Embedder) -> None:
        super().__init__(config)
        self._embedder = embedder

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._embedder.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._embedder.close()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    # Before numpy is imported: one BLAS thread, because the batcher brings a thread per core. Measured on two cores,
    # 189 sentences/s against 145 with BLAS' own two threads, which also spin while the event loop wants to run.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["VECLIB_MAXIMUM_THREADS"] = "1"
    embedder = Embedder()
    pace = Pace(options.first_token_ms / 1000, 1 / options.tokens_per_s)
    config = uvicorn.Config(
        application(Models(tuple(options.models)), pace, embedder),
        host=HOST,
        port=options.port,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
        Server(config, embedder).run()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.local.model_server", description=_DESCRIPTION)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="accept these for chat, no others")
    parser.add_argument("--first-token-ms", type=float, default=FIRST_TOKEN_MS, metavar="MS")
    parser.add_argument("--tokens-per-s", type=float, default=TOKENS_PER_S, metavar="N", help="inf: no pacing")
    return parser.parse_args(arguments)


_DESCRIPTION = "A model server that speaks OpenAI's protocol: extractive answers, MiniLM embeddings, faults on demand."
