"""Real clients: users who insert rows and watch the answers arrive, and keep all that they saw."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import time
from uuid import uuid4

from worker.client import Rowcall, Update
from worker.local.stack import Stack

USERS = 3


@dataclass(slots=True)
class Watched:
    """A row as its owner saw it."""

    id: str
    owner: Rowcall
    updates: list[Update] = field(default_factory=list)
    canceled_at: float | None = None  # the owner canceled, and was told so
    problem: str | None = None
    watching: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        return bool(self.updates) and self.updates[-1].is_finished


class Clients:
    def __init__(self, users: list[Rowcall]) -> None:
        self.rows: list[Watched] = []
        self._users = users
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def unfinished(self) -> list[Watched]:
        return [row for row in self.rows if not row.has_ended and row.problem is None]

    async def ask(self) -> Watched:
        owner = self._users[len(self.rows) % len(self._users)]
        row = Watched(await owner.submit({"question": f"What is {uuid4().hex}?"}), owner)
        self.rows.append(row)
        task = row.watching = asyncio.create_task(self._watch(row))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return row

    async def ask_until(self, stop: asyncio.Event, every_s: float, *, most: int) -> None:
        """A new row every so often, while fewer than `most` are unfinished."""
        while not stop.is_set():
            if len(self.unfinished) < most:
                await self.ask()
            await asyncio.sleep(every_s)

    async def cancel(self, row: Watched) -> bool:
        canceled = await row.owner.cancel(row.id)
        if canceled:
            row.canceled_at = time()
        return canceled

    @staticmethod
    async def until_ended(rows: Sequence[Watched]) -> None:
        await asyncio.wait([row.watching for row in rows if row.watching is not None])

    async def until_all_ended(self, patience_s: float) -> None:
        if self._watching:
            _, late = await asyncio.wait(self._watching, timeout=patience_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    @staticmethod
    async def _watch(row: Watched) -> None:
        try:
            async for update in row.owner.watch(row.id):
                row.updates.append(update)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is what the client got
            row.problem = f"{type(problem).__name__}: {problem}"


@asynccontextmanager
async def signed_up(stack: Stack) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as entered:
        users = []
        for _ in range(USERS):
            account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse"}
            user = Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **account)
            users.append(await entered.enter_async_context(user))
        yield Clients(users)
