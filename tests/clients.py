"""Real supabase-py clients whose connections end with the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from worker.local.stack import Stack


@asynccontextmanager
async def client_with(stack: Stack, key: str) -> AsyncIterator[AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
        yield await acreate_client(stack.url, key, options)


@asynccontextmanager
async def signed_up(stack: Stack) -> AsyncIterator[AsyncClient]:
    """A user of their own for each call."""
    async with client_with(stack, stack.publishable_key) as client:
        await client.auth.sign_up({"email": f"{uuid4().hex}@example.com", "password": "correct horse"})
        yield client
