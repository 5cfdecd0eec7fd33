"""The webhook's receiver: a job for each inserted row."""

import hmac
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from arq import create_pool
from arq.connections import RedisSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.jobs = await create_pool(RedisSettings.from_dsn(os.environ["STOCK_REDIS_URL"]))
    yield
    await app.state.jobs.aclose()


async def webhook(request: Request) -> JSONResponse:
    if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {os.environ['STOCK_SECRET']}"):
        return JSONResponse({"error": "unauthorized"}, 401)
    record = (await request.json())["record"]
    await request.app.state.jobs.enqueue_job("answer_question", record["id"], record["question"])
    return JSONResponse({"ok": True})


app = Starlette(routes=[Route("/webhook", webhook, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
