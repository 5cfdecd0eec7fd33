"""A model whose every word says which call it belongs to, and that can be made to fail. It keeps its own log."""

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

Fault = Literal["limited", "broken", "silent", "stalled", "cut", "slow"]
FAULTS: tuple[Fault, ...] = ("limited", "broken", "silent", "stalled", "cut", "slow")
WORDS = 12
PROMPT_TOKENS = 7
RETRY_AFTER_S = 0.2


class Cut(Exception):
    """Ends a connection in the middle of an answer."""


@dataclass(slots=True)
class Asked:
    """A request as the model saw it. `outcome` is None while it is answered."""

    call_id: str
    endpoint: Literal["chat", "embeddings"]
    fault: Fault | None = None
    began: float = field(default_factory=time)
    ended: float | None = None
    words: int = 0
    outcome: Literal["finished", "refused", "cut", "left"] | None = None  # left: by the client

    def end(self, outcome: Literal["finished", "refused", "cut", "left"]) -> None:
        self.outcome, self.ended = outcome, time()


class Model:
    """Speaks chat completions and embeddings. An answer takes 50 to 500 ms; a slow one `slow_s`."""

    def __init__(self, seed: int, *, slow_s: float) -> None:
        self.log: list[Asked] = []
        self.faults: deque[Fault] = deque()  # each is suffered by one of the next chats
        self._chance = random.Random(seed)
        self._slow_s = slow_s

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/embeddings", self._embed, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _embed(self, request: Request) -> Response:
        asked = Asked(request.headers["x-client-request-id"], "embeddings")
        self.log.append(asked)
        try:
            texts = (await request.json())["input"]
        except ClientDisconnect:
            asked.end("left")
            return Response()
        data = [{"object": "embedding", "index": n, "embedding": [1.0] + [0.0] * 383} for n in range(len(texts))]
        asked.end("finished")
        usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
        return JSONResponse({"object": "list", "model": "m", "data": data, "usage": usage})

    async def _chat(self, request: Request) -> Response:
        fault = self.faults.popleft() if self.faults else None
        asked = Asked(request.headers["x-client-request-id"], "chat", fault)
        self.log.append(asked)
        if fault in {"limited", "broken"}:
            asked.end("refused")
            status, headers = (429, {"retry-after": str(RETRY_AFTER_S)}) if fault == "limited" else (500, {})
            return JSONResponse({"error": {"message": "on purpose"}}, status, headers)
        answer = StreamingResponse(self._stream(asked), media_type="text/event-stream")
        return Watched(answer, asked)

    async def _stream(self, asked: Asked) -> AsyncIterator[bytes]:
        pause_s = (self._slow_s if asked.fault == "slow" else self._chance.uniform(0.05, 0.5)) / WORDS
        stops_at = {"silent": 0, "stalled": WORDS // 2, "cut": WORDS // 2}.get(asked.fault or "")
        for number in range(WORDS):
            await asyncio.sleep(pause_s)
            if number == stops_at:
                if asked.fault == "cut":
                    raise Cut
                await asyncio.Event().wait()
            asked.words += 1
            yield event({"choices": [{"index": 0, "delta": {"content": f"{asked.call_id} "}, "finish_reason": None}]})
        yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        tokens = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": WORDS, "total_tokens": PROMPT_TOKENS + WORDS}
        yield event({"choices": [], "usage": tokens})
        asked.end("finished")
        yield b"data: [DONE]\n\n"


class Watched(Response):
    """The stream, with its end in the log: whether it was cut, or its reader left."""

    def __init__(self, answer: StreamingResponse, asked: Asked) -> None:
        self._answer = answer
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except* Cut:
            self._asked.end("cut")  # the server closes a connection whose answer is not complete
        finally:
            if self._asked.outcome is None:
                self._asked.end("left")


def event(chunk: dict[str, Any]) -> bytes:
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", **chunk}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"
