"""Every fault, as the real client of OpenAI sees it."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.local.model_server.running import ModelServer, running_model_server
from tests.waiting import async_until

TEXT = "Rows are inserted by clients. Workers claim rows. Answers are written back to rows."
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": TEXT}]
IMPATIENCE_S = 0.3


async def whole(server: ModelServer, timeout_s: float = 30.0) -> openai.types.chat.ChatCompletion:
    async with server.client(timeout_s) as client:
        return await client.chat.completions.create(model="m", messages=MESSAGES)


async def streamed(server: ModelServer, received: list[str], timeout_s: float = 30.0) -> str | None:
    """Adds the pieces of text as they come; the finish reason."""
    reason = None
    async with server.client(timeout_s) as client:
        async for chunk in await client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            choice = chunk.choices[0]
            received += [choice.delta.content] if choice.delta.content else []
            reason = choice.finish_reason
    return reason


async def end_of_last(server: ModelServer) -> dict[str, Any]:
    """The latest record, once it is closed."""

    async def has_ended() -> bool:
        return server.last()["outcome"] is not None

    await async_until(has_ended, "the server is done with the request")
    return server.last()


async def test_it_says_what_it_is_told_to_say(model_server: ModelServer) -> None:
    model_server.fail({"kind": "says", "text": "12 * 3 = 35."}, times=2)
    assert (await whole(model_server)).choices[0].message.content == "12 * 3 = 35."
    received: list[str] = []
    assert await streamed(model_server, received) == "stop"
    assert "".join(received) == "12 * 3 = 35."


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, openai.AuthenticationError, "invalid_api_key"),
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (500, openai.InternalServerError, None),
        (503, openai.InternalServerError, "service_unavailable"),
    ],
)
async def test_a_status_arrives_as_its_error(
    model_server: ModelServer, status: int, error: type[openai.APIStatusError], code: str | None
) -> None:
    model_server.fail({"kind": "status", "status": status})
    with pytest.raises(error) as failure:
        await whole(model_server)
    assert (failure.value.status_code, failure.value.code) == (status, code)
    record = model_server.last()
    assert (record["status"], record["fault"], record["outcome"]) == (status, "status", "finished")
    assert failure.value.request_id == record["request_id"]
    assert (await whole(model_server)).choices[0].finish_reason == "stop"


async def test_a_limit_says_when_to_come_back(model_server: ModelServer) -> None:
    model_server.fail({"kind": "status", "status": 429, "retry_after_s": 1.5, "code": "insufficient_quota"})
    with pytest.raises(openai.RateLimitError) as failure:
        await whole(model_server)
    headers = failure.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert failure.value.code == "insufficient_quota"


async def test_a_fault_keeps_to_its_endpoint(model_server: ModelServer) -> None:
    model_server.fail({"kind": "status", "status": 500}, endpoint="embeddings")
    model_server.fail({"kind": "status", "status": 500}, endpoint="models")
    assert (await whole(model_server)).choices
    async with model_server.client() as client:
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model="all-MiniLM-L6-v2", input="a")
        with pytest.raises(openai.InternalServerError):
            await client.models.list()


async def test_silence_ends_when_the_client_loses_patience(model_server: ModelServer) -> None:
    model_server.fail({"kind": "hang"})
    with pytest.raises(openai.APITimeoutError):
        await whole(model_server, IMPATIENCE_S)
    record = await end_of_last(model_server)
    assert (record["outcome"], record["status"], record["chunks"]) == ("aborted", None, 0)


async def test_a_stream_can_fall_silent_in_the_middle(model_server: ModelServer) -> None:
    model_server.fail({"kind": "hang", "after_chunks": 3})
    received: list[str] = []
    with pytest.raises(openai.APITimeoutError):
        await streamed(model_server, received, IMPATIENCE_S)
    record = await end_of_last(model_server)
    assert (len(received), record["chunks"], record["status"], record["outcome"]) == (3, 3, 200, "aborted")


async def test_a_stream_can_be_cut_in_the_middle(model_server: ModelServer) -> None:
    model_server.fail({"kind": "cut_stream", "after_chunks": 4})
    received: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        await streamed(model_server, received)
    record = await end_of_last(model_server)
    assert (len(received), record["chunks"], record["outcome"]) == (4, 4, "cut")
    assert record["finish_reason"] is None


async def test_a_stream_that_is_cut_behind_its_text_has_no_end(model_server: ModelServer) -> None:
    model_server.fail({"kind": "cut_stream", "after_chunks": 1_000_000})
    received: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        await streamed(model_server, received)
    assert "".join(received).startswith(TEXT)


async def test_a_whole_answer_can_be_cut(model_server: ModelServer) -> None:
    model_server.fail({"kind": "cut_stream"})
    with pytest.raises(openai.APIConnectionError):
        await whole(model_server)
    assert (await end_of_last(model_server))["outcome"] == "cut"


async def test_a_slow_stream_takes_its_time(model_server: ModelServer) -> None:
    model_server.fail({"kind": "slow", "first_token_s": 0.2, "between_tokens_s": 0.01})
    received: list[str] = []
    assert await streamed(model_server, received) == "stop"
    record = await end_of_last(model_server)
    assert record["first_chunk_at"] - record["started_at"] >= 0.2
    assert record["finished_at"] - record["first_chunk_at"] >= 0.01 * (len(received) - 1) - 0.001


async def test_the_bytes_of_an_answer_can_be_broken(model_server: ModelServer) -> None:
    model_server.fail({"kind": "malformed"}, times=2)
    received: list[str] = []
    with pytest.raises(json.JSONDecodeError):
        await streamed(model_server, received)
    assert len(received) == 1
    with pytest.raises(json.JSONDecodeError):
        await whole(model_server)


async def test_an_answer_can_be_empty(model_server: ModelServer) -> None:
    model_server.fail({"kind": "empty"}, times=2)
    received: list[str] = []
    assert await streamed(model_server, received) == "stop"
    assert received == []
    answer = await whole(model_server)
    assert answer.choices[0].message.content == ""
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0


async def test_an_answer_can_stop_at_a_length(model_server: ModelServer) -> None:
    model_server.fail({"kind": "length", "after_tokens": 2}, times=2)
    received: list[str] = []
    assert await streamed(model_server, received) == "length"
    assert received == ["Rows", " are"]
    assert (await whole(model_server)).choices[0].finish_reason == "length"


async def test_a_filter_can_stop_an_answer(model_server: ModelServer) -> None:
    model_server.fail({"kind": "content_filter", "after_tokens": 1})
    received: list[str] = []
    assert await streamed(model_server, received) == "content_filter"
    assert received == ["Rows"]


async def test_the_model_can_decline(model_server: ModelServer) -> None:
    model_server.fail({"kind": "refusal", "text": "I will not."}, times=2)
    answer = await whole(model_server)
    assert (answer.choices[0].message.content, answer.choices[0].message.refusal) == (None, "I will not.")
    async with model_server.client() as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        refusal = "".join([chunk.choices[0].delta.refusal or "" async for chunk in stream])
    assert refusal == "I will not."


async def test_a_client_that_leaves_ends_the_stream(model_server: ModelServer) -> None:
    model_server.fail({"kind": "slow", "between_tokens_s": 0.05})
    async with model_server.client() as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        received = 0
        async for chunk in stream:
            received += bool(chunk.choices[0].delta.content)
            if received == 2:
                break
        await stream.close()
    record = await end_of_last(model_server)
    assert (record["outcome"], record["finish_reason"]) == ("aborted", None)
    assert record["completion_tokens"] == record["chunks"] >= 2


async def test_rules_are_used_up_in_their_order(model_server: ModelServer) -> None:
    model_server.fail({"kind": "status", "status": 429}, contains="claim rows")
    model_server.fail({"kind": "status", "status": 503}, times=2, model="m")
    model_server.fail({"kind": "status", "status": 500}, times="always", model="another")
    for expected in (429, 503, 503):
        with pytest.raises(openai.APIStatusError) as failure:
            await whole(model_server)
        assert failure.value.status_code == expected
    assert (await whole(model_server)).choices
    assert [(rule["match"]["model"], rule["times"]) for rule in model_server.faults()] == [("another", "always")]
    assert [record["status"] for record in model_server.log()] == [429, 503, 503, 200]


@pytest.mark.parametrize(
    "rules",
    [
        [],
        {},
        [{"fault": {"kind": "explode"}}],
        [{"fault": {"kind": "status", "status": 200}}],
        [{"fault": {"kind": "hang"}, "times": 0}],
        [{"fault": {"kind": "hang"}, "match": {"path": "/v1"}}],
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(model_server: ModelServer, rules: object) -> None:
    answer = model_server.control.post("/control/faults", json=rules)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert model_server.faults() == []


async def test_the_end_of_the_parents_pipe_ends_the_server_though_a_client_waits() -> None:
    with running_model_server() as server:
        server.fail({"kind": "hang"})
        waiting = asyncio.create_task(whole(server))

        async def is_waiting() -> bool:
            return bool(server.log())

        await async_until(is_waiting, "the request has arrived")
    assert server.process.returncode is not None
    with pytest.raises(openai.APIConnectionError):
        await waiting
