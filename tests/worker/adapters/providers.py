"""Questions to models, and providers that answer as a test says."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from jobs.decisions.prompting import Message
from jobs.errors import JobError
from jobs.ports import ChatRequest, Completed, ModelName, TextDelta
from worker.adapters.models import OpenAIChat

CHAT = ModelName("local", "rowcall-local")
EMBEDDING = ModelName("local", "all-MiniLM-L6-v2")
CALL = "the ledger's id"
SECRET = "the user's own words"


def asking(text: str = SECRET, *, max_tokens: int = 100, first_s: float = 20.0, total_s: float = 60.0) -> ChatRequest:
    messages = (Message("system", "Answer."), Message("assistant", "Yes?"), Message("user", text))
    return ChatRequest(CHAT, messages, max_tokens, first_s, total_s)


async def answer(chat: OpenAIChat, request: ChatRequest) -> tuple[str, Completed]:
    *texts, ending = [event async for event in chat.stream(request, CALL)]
    assert isinstance(ending, Completed)
    return "".join(event.text for event in texts if isinstance(event, TextDelta)), ending


async def failure(chat: OpenAIChat, request: ChatRequest) -> tuple[JobError, str]:
    """The error, and the text that came before it."""
    texts: list[str] = []

    async def read() -> None:
        async for event in chat.stream(request, CALL):
            assert not isinstance(event, Completed)
            if isinstance(event, TextDelta):
                texts.append(event.text)

    with pytest.raises(JobError) as caught:
        await read()
    return caught.value, "".join(texts)


@asynccontextmanager
async def provider(answer: httpx2.Response, asked: list[httpx2.Request]) -> AsyncIterator[AsyncOpenAI]:
    """A client whose provider gives that answer."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return answer

    http = openai.DefaultAsyncHttpxClient(transport=httpx2.MockTransport(respond))
    async with AsyncOpenAI(base_url="http://provider/v1", api_key="key", max_retries=0, http_client=http) as client:
        yield client


def events(*bodies: dict[str, Any]) -> httpx2.Response:
    lines = "".join(f"data: {json.dumps(body)}\n\n" for body in bodies)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=lines + "data: [DONE]\n\n")


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **more}
