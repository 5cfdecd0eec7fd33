"""The Python client when connections die: no character is lost, none comes twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from tests.e2e.conftest import Model
from tests.forwarding import Forward
from worker.client import Delta, NotAnswered, RequestRefused, Rowcall
from worker.local.stack import Stack

QUESTION = "What is the airspeed velocity of an unladen swallow?"
AWAY_S = 9.0  # longer than the SDKs try a read again by themselves
ENOUGH = 40  # characters: the answer has begun, and is not near its end


@pytest.fixture
async def client(rowcall_stack: Stack, rowcall: Rowcall, line: Forward) -> AsyncIterator[Rowcall]:
    """The same user as `rowcall`, who has a document, by that way."""
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    url = f"http://127.0.0.1:{line.port}"
    async with Rowcall(url, rowcall_stack.publishable_key, access_token=session.access_token) as client:
        yield client


def assert_whole(deltas: list[Delta]) -> None:
    """What a reader has who appends every delta is what the row says."""
    read = ""
    for delta in deltas:
        read = delta.text if delta.begins_again else read + delta.text
        assert read == delta.whole
    assert [delta.row is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    row = deltas[-1].row
    assert row is not None
    assert (row["status"], row["answer"]) == ("succeeded", read)


async def test_a_question_is_streamed_piece_by_piece_and_the_last_one_brings_the_row(
    client: Rowcall, model: Model
) -> None:
    await model.slow(0.03)
    deltas = [delta async for delta in client.stream(QUESTION)]
    assert_whole(deltas)
    assert len(deltas) > 5
    assert not any(delta.begins_again for delta in deltas)
    assert "".join(map(str, deltas)) == deltas[-1].whole


async def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(
    client: Rowcall, line: Forward, model: Model
) -> None:
    await model.slow(0.1)
    deltas, cut_at = [], 0
    async for delta in client.stream(QUESTION):
        deltas.append(delta)
        if len(delta.whole) > cut_at + ENOUGH:
            cut_at = len(delta.whole)
            await line.cut()
    assert cut_at > ENOUGH
    assert_whole(deltas)
    assert not any(delta.begins_again for delta in deltas)


async def test_a_project_that_is_away_for_some_seconds_is_asked_again(
    client: Rowcall, line: Forward, model: Model
) -> None:
    """Every read fails meanwhile, and the answer is not finished when it comes back."""
    await model.slow(0.25)
    deltas: list[Delta] = []
    was_down = False
    async for delta in client.stream(QUESTION):
        deltas.append(delta)
        if len(delta.whole) > ENOUGH and not was_down:
            was_down = True
            await line.go_down(AWAY_S)
    assert was_down
    assert_whole(deltas)


async def test_a_realtime_that_is_killed_and_started_again_loses_and_doubles_nothing(
    client: Rowcall, rowcall_stack: Stack, model: Model
) -> None:
    await model.slow(0.15)
    deltas: list[Delta] = []
    killed = False
    async for delta in client.stream(QUESTION):
        deltas.append(delta)
        if len(delta.whole) > ENOUGH and not killed:
            killed = True
            rowcall_stack.kill("realtime")
            rowcall_stack.start("realtime")
    assert killed
    assert_whole(deltas)


async def test_without_realtime_the_checkpoints_bring_the_text(
    client: Rowcall, rowcall_stack: Stack, model: Model
) -> None:
    await model.slow(0.15)
    rowcall_stack.kill("realtime")
    try:
        deltas = [delta async for delta in client.stream(QUESTION)]
    finally:
        rowcall_stack.start("realtime")
    assert_whole(deltas)
    assert len(deltas) > 2


async def test_a_stream_that_ends_without_an_answer_raises_and_brings_the_row(client: Rowcall, model: Model) -> None:
    await model.slow(0.2)
    id = await client.submit({"question": QUESTION})

    async def read_and_cancel() -> None:
        canceled = False
        async for delta in client.deltas(id):
            if delta.text and not canceled:
                canceled = await client.cancel(id)

    with pytest.raises(NotAnswered, match="canceled: the generation was ended by its owner") as raised:
        await read_and_cancel()
    assert raised.value.row["status"] == "canceled"


async def test_the_reason_of_a_failure_is_the_exception_s(client: Rowcall, model: Model) -> None:
    await model.fail({"kind": "status", "status": 400}, times=5)
    with pytest.raises(NotAnswered, match=r"^model\."):
        await client.stream(QUESTION).__anext__()


async def test_the_secret_key_speaks_as_the_project_itself(rowcall_stack: Stack) -> None:
    async with Rowcall(rowcall_stack.url, rowcall_stack.secret_key) as project:
        deltas = [delta async for delta in project.stream(f"Who is {uuid4().hex}?")]
    assert_whole(deltas)
    assert deltas[-1].row is not None
    assert deltas[-1].row["user_id"] is None


async def test_of_several_who_sign_the_same_user_up_at_once_each_is_signed_in(stack: Stack) -> None:
    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse"}

    async def user_id() -> str:
        async with Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **account) as client:
            session = await client.supabase.auth.get_session()
            assert session is not None
            return session.user.id

    assert len(set(await asyncio.gather(*(user_id() for _ in range(6))))) == 1
    account["password"] = "another"
    with pytest.raises(RequestRefused, match="Invalid login credentials"):
        await user_id()


TOKEN_S = 15


async def test_a_watch_goes_on_by_a_new_token_when_the_old_one_has_expired(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    """Realtime closes the channels of an expired token, and REST refuses it."""
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    expires_at = int(time.time()) + TOKEN_S

    def token_until(moment: int) -> str:
        return jwt.encode(claims | {"exp": moment}, rowcall_stack.jwt_secret, algorithm="HS256")

    await model.slow(2 * TOKEN_S / 40)
    deltas: list[Delta] = []
    joined_afterwards: list[bool] = []
    async with Rowcall(
        rowcall_stack.url, rowcall_stack.publishable_key, access_token=token_until(expires_at)
    ) as client:
        async for delta in client.stream(QUESTION):
            if not deltas:
                await client.renew(token_until(expires_at + 3600))
            deltas.append(delta)
            if time.time() > expires_at:
                joined_afterwards += [channel.is_joined for channel in client.supabase.realtime.channels.values()]
    assert_whole(deltas)
    assert len(joined_afterwards) > 3
    assert all(joined_afterwards)


async def test_a_session_that_the_sdk_refreshes_carries_its_watches_along(rowcall: Rowcall, model: Model) -> None:
    await model.slow(0.1)
    deltas: list[Delta] = []
    tokens: set[str] = set()
    fresh = None
    async for delta in rowcall.stream(QUESTION):
        fresh = fresh or (await rowcall.supabase.auth.refresh_session()).session
        deltas.append(delta)
        tokens = {channel.join_push.payload["access_token"] for channel in rowcall.supabase.realtime.channels.values()}
        tokens.add(rowcall.supabase.realtime.access_token or "")
        tokens.add(rowcall.supabase.options.headers["Authorization"].removeprefix("Bearer "))
    assert_whole(deltas)
    assert fresh is not None
    assert tokens == {fresh.access_token}


async def test_deltas_that_go_on_behind_a_gap_do_not_put_its_end_off(stack: Stack) -> None:
    """They come faster than the gap is given time for; the checkpoint has what is missing."""
    missing = "what is missing"
    async with Rowcall(stack.url, stack.secret_key) as project, AsyncExitStack() as entered:
        id = await project.submit({"question": "?"})
        connecting = psycopg.AsyncConnection.connect(stack.admin_db_url, autocommit=True)
        database = await entered.enter_async_context(await connecting)
        await database.execute("select * from rowcall.claim_generations_v1(array[%s]::uuid[], 'nobody', 600)", (id,))
        for _ in range(SENDERS):
            entered.callback(asyncio.create_task(send_gaps(project, id)).cancel)

        async def checkpoint() -> None:
            await asyncio.sleep(3.0)  # the client has subscribed, read the row, and heard of text behind a gap
            await database.execute("update rowcall.attempts set partial = %s where generation_id = %s", (missing, id))

        checkpointing = asyncio.create_task(checkpoint())
        async with asyncio.timeout(30):  # a read that waits for a silence never comes
            async for update in project.watch(id):
                if update.text == missing:
                    break
        await checkpointing


SENDERS = 8


async def send_gaps(project: Rowcall, id: str) -> None:
    """Deltas far behind what anybody knows, without a pause."""
    url = f"{project.supabase.supabase_url}realtime/v1/api/broadcast"
    payload = {"attempt": 1, "offset": 1000, "text": "…"}
    message = {"topic": f"generation:{id}", "event": "delta", "payload": payload, "private": True}
    async with httpx.AsyncClient(headers={"apikey": project.supabase.supabase_key}, timeout=30) as http:
        while True:
            (await http.post(url, json={"messages": [message]})).raise_for_status()
            await asyncio.sleep(0.05)
