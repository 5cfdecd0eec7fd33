"""Chat completions against the local model server, over HTTP, and against providers that answer oddly."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from jobs.errors import JobError, Permanent, Refused, Retryable
from jobs.ports import Completed, TextDelta, Usage
from tests.local.model_server.running import ModelServer
from tests.waiting import async_until
from tests.worker.adapters.providers import CALL, SECRET, answer, asking, chunk, events, failure, provider
from worker.adapters.models import OpenAIChat, openai_client
from worker.local.ports import free_port


@pytest.fixture
def chat(model_client: AsyncOpenAI) -> OpenAIChat:
    return OpenAIChat({"local": model_client})


# An answer


async def test_an_answer_streams_and_ends_with_the_providers_count(chat: OpenAIChat, model_server: ModelServer) -> None:
    text, ending = await answer(chat, asking())
    [entry] = model_server.log()
    assert text
    assert ending == Completed("stop", Usage(entry["prompt_tokens"], entry["completion_tokens"]))
    assert (entry["outcome"], entry["stream"]) == ("finished", True)
    assert entry["client_request_id"] == CALL


async def test_tokens_from_the_prompt_cache_are_told_apart(chat: OpenAIChat, model_server: ModelServer) -> None:
    long = "A swallow is a bird. " * 400
    await answer(chat, asking(long))
    _, ending = await answer(chat, asking(long))
    cached = model_server.log()[-1]["cached_tokens"]
    assert cached > 1000
    assert ending.usage is not None
    assert ending.usage.tokens_cached == cached


async def test_an_answer_that_is_cut_at_its_limit_says_so(chat: OpenAIChat) -> None:
    _, ending = await answer(chat, asking(max_tokens=1))
    assert ending.finish == "length"
    assert ending.usage is not None
    assert ending.usage.tokens_out == 1


async def test_an_empty_answer_is_an_answer(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "empty"}, endpoint="chat")
    text, ending = await answer(chat, asking())
    assert (text, ending.finish) == ("", "stop")


# Faults


@pytest.mark.parametrize(
    ("status", "given", "kind", "code"),
    [
        (429, {"retry_after_s": 7.5}, Retryable, "model.rate_limited"),
        (429, {"code": "insufficient_quota"}, Retryable, "model.quota_exhausted"),
        (402, {}, Retryable, "model.quota_exhausted"),  # DeepSeek, OpenRouter
        (500, {}, Retryable, "model.unavailable"),
        (503, {"retry_after_s": 7.5}, Retryable, "model.unavailable"),
        (529, {}, Retryable, "model.unavailable"),
        (408, {}, Retryable, "model.unavailable"),
        (400, {}, Permanent, "model.rejected"),
        (400, {"code": "context_length_exceeded"}, Permanent, "model.context_too_long"),
        (400, {"code": "content_filter"}, Refused, "model.refused"),
        (401, {}, Permanent, "model.unauthorized"),
        (403, {}, Permanent, "model.forbidden"),
        (404, {}, Permanent, "model.not_found"),
        (413, {}, Permanent, "model.context_too_long"),
        (418, {}, Permanent, "model.rejected"),
    ],
)
async def test_a_status_says_what_happens_next(
    chat: OpenAIChat, model_server: ModelServer, status: int, given: dict[str, Any], kind: type[JobError], code: str
) -> None:
    model_server.fail({"kind": "status", "status": status, **given}, endpoint="chat")
    error, _ = await failure(chat, asking())
    assert (type(error), error.code) == (kind, code)
    assert len(model_server.log()) == 1  # the SDK has not tried again
    if isinstance(error, Retryable):
        assert error.wait_s == given.get("retry_after_s")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "cut_stream", "after_chunks": 0}, "model.stream_cut"),
        ({"kind": "cut_stream", "after_chunks": 2}, "model.stream_cut"),
        ({"kind": "malformed"}, "model.unreadable"),
    ],
)
async def test_a_stream_that_breaks_is_tried_again(
    chat: OpenAIChat, model_server: ModelServer, fault: dict[str, Any], code: str
) -> None:
    model_server.fail(fault, endpoint="chat")
    error, _ = await failure(chat, asking())
    assert (type(error), error.code) == (Retryable, code)


@pytest.mark.parametrize("fault", [{"kind": "content_filter", "after_tokens": 2}, {"kind": "refusal"}])
async def test_an_answer_that_the_provider_or_the_model_declines_is_refused(
    chat: OpenAIChat, model_server: ModelServer, fault: dict[str, Any]
) -> None:
    model_server.fail(fault, endpoint="chat")
    error, _ = await failure(chat, asking())
    assert (type(error), error.code) == (Refused, "model.refused")


async def test_a_model_that_does_not_begin_in_time_is_left(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "hang"}, endpoint="chat")
    error, text = await failure(chat, asking(first_s=0.1))
    assert (type(error), error.code, text) == (Retryable, "model.timeout", "")
    await until_aborted(model_server)


async def test_a_model_that_has_begun_has_the_total_time(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "slow", "first_token_s": 0.0, "between_tokens_s": 0.01}, endpoint="chat")
    text, _ = await answer(chat, asking(first_s=5.0, total_s=60.0))
    assert text
    model_server.fail({"kind": "hang", "after_chunks": 2}, endpoint="chat")
    error, text = await failure(chat, asking(first_s=5.0, total_s=1.0))
    assert (error.code, len(text) > 0) == ("model.timeout", True)


async def test_a_stream_that_trickles_ends_at_the_total_time_though_no_token_is_late(
    chat: OpenAIChat, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "slow", "first_token_s": 0.0, "between_tokens_s": 0.2}, endpoint="chat")
    error, _ = await failure(chat, asking(total_s=0.5))
    assert error.code == "model.timeout"


async def test_a_provider_that_nobody_listens_for_is_unavailable() -> None:
    async with openai_client(f"http://127.0.0.1:{free_port()}/v1", "key") as client:
        error, _ = await failure(OpenAIChat({"local": client}), asking())
    assert (type(error), error.code) == (Retryable, "model.unavailable")


async def test_a_provider_that_is_not_configured_is_permanent() -> None:
    error, _ = await failure(OpenAIChat({}), asking())
    assert (type(error), error.code) == (Permanent, "model.not_found")


async def test_neither_prompt_nor_key_nor_the_providers_reply_is_in_an_error(
    chat: OpenAIChat, model_server: ModelServer
) -> None:
    model_server.fail({"kind": "status", "status": 400}, endpoint="chat")
    error, _ = await failure(chat, asking())
    shown = "".join(traceback.format_exception(error))
    for leak in (SECRET, "sk-a-key", "Injected"):
        assert leak not in shown
        assert leak not in error.message


# Stopping


async def until_aborted(model_server: ModelServer) -> None:
    async def is_aborted() -> bool:
        [entry] = await asyncio.to_thread(model_server.log)
        return bool(entry["outcome"] == "aborted")

    await async_until(is_aborted, "the server sees that we are gone")


async def test_a_reader_that_is_canceled_closes_the_stream_at_once(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "slow", "first_token_s": 0.0, "between_tokens_s": 30.0}, endpoint="chat")
    began = asyncio.Event()

    async def read() -> None:
        async for _ in chat.stream(asking(), CALL):
            began.set()

    reading = asyncio.create_task(read())
    await began.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    await until_aborted(model_server)


async def test_a_reader_that_stops_reading_closes_the_stream(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "slow", "first_token_s": 0.0, "between_tokens_s": 30.0}, endpoint="chat")
    async for _ in chat.stream(asking(), CALL):
        break

    await until_aborted(model_server)


async def test_a_slow_reader_is_not_interrupted_by_a_deadline(chat: OpenAIChat, model_server: ModelServer) -> None:
    model_server.fail({"kind": "hang", "after_chunks": 1}, endpoint="chat")
    stream = aiter(chat.stream(asking(total_s=0.3), CALL))
    assert isinstance(await anext(stream), TextDelta)
    await asyncio.sleep(0.5)  # the reader writes the text somewhere, past the deadline
    with pytest.raises(Retryable, match=r"model\.timeout"):
        await anext(stream)


# Providers that answer oddly


async def test_a_stream_that_ends_as_if_all_were_well_but_without_a_finish_is_cut() -> None:
    async with provider(events(chunk("Half an answ")), []) as client:
        error, text = await failure(OpenAIChat({"local": client}), asking())
    assert (error.code, text) == ("model.stream_cut", "Half an answ")


@pytest.mark.parametrize(
    ("finish", "code"),
    [
        ("error", "model.stream_cut"),  # Mistral
        ("insufficient_system_resource", "model.stream_cut"),  # DeepSeek
        ("network_error", "model.stream_cut"),  # Zhipu
        ("abort", "model.stream_cut"),  # vLLM
        ("sensitive", "model.refused"),  # Zhipu
        ("content_filter: RECITATION", "model.refused"),  # Gemini
    ],
)
async def test_a_finish_that_is_no_end_of_an_answer_is_an_error(finish: str, code: str) -> None:
    async with provider(events(chunk("Half an answ"), chunk(None, finish)), []) as client:
        error, text = await failure(OpenAIChat({"local": client}), asking())
    assert (error.code, text) == (code, "Half an answ")


@pytest.mark.parametrize(
    ("finish", "expected"), [("model_length", "length"), ("length", "length"), ("eos", "stop"), (7, "stop")]
)
async def test_other_finishes_end_an_answer(finish: Any, expected: str) -> None:
    async with provider(events(chunk("An answer."), chunk(None, finish)), []) as client:
        text, ending = await answer(OpenAIChat({"local": client}), asking())
    assert (text, ending.finish) == ("An answer.", expected)


async def test_a_character_that_a_server_cuts_in_two_is_whole_again() -> None:
    pieces = ["Fine \ud83d", "\ude00", " \ud83d", "", "\ude00\ud83d\ude00\ud83d!", "\ude00 \u00e9", "end \ud83d"]
    async with provider(events(*map(chunk, pieces), chunk(None, "stop")), []) as client:
        text, _ = await answer(OpenAIChat({"local": client}), asking())
    assert text == "Fine \U0001f600 \U0001f600\U0001f600\ud83d!\ude00 \u00e9end "  # halves without the other stay


@pytest.mark.parametrize("finish", ["stop", None])
@pytest.mark.parametrize("ending", [httpx2.ReadError("reset"), b"data: {\n\n", None])
async def test_a_stream_that_breaks_off_after_its_finish_is_a_whole_answer(
    finish: str | None, ending: Exception | bytes | None
) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield f"data: {json.dumps(chunk('Yes.', finish))}\n\n".encode()
        if isinstance(ending, Exception):
            raise ending
        if ending is not None:
            yield ending
        await asyncio.sleep(60.0)

    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=sent())
    async with provider(response, []) as client:
        asked = answer(OpenAIChat({"local": client}), asking(total_s=0.2))
        if finish is not None:
            assert await asked == ("Yes.", Completed("stop", None))
        else:
            with pytest.raises(Retryable):
                await asked


async def test_usage_that_comes_with_the_last_text_and_nothing_of_details_is_taken() -> None:
    used = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    async with provider(events(chunk("Yes.", "stop", usage=used)), []) as client:
        assert await answer(OpenAIChat({"local": client}), asking()) == ("Yes.", Completed("stop", Usage(7, 3)))


async def test_reasoning_tokens_are_told_apart() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 2}, "prompt_tokens_details": {"cached_tokens": 4}}
    used = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, **details}
    async with provider(events(chunk("Yes.", "stop"), chunk() | {"choices": [], "usage": used}), []) as client:
        _, ending = await answer(OpenAIChat({"local": client}), asking())
    assert ending.usage == Usage(7, 3, tokens_cached=4, tokens_reasoning=2)


@pytest.mark.parametrize("finish", ["content_filter", None])
async def test_what_a_stream_used_is_told_before_its_error(finish: str | None) -> None:
    used = {"prompt_tokens": 700, "completion_tokens": 3, "total_tokens": 703}
    async with provider(events(chunk("Ye", finish), chunk() | {"choices": [], "usage": used}), []) as client:
        stream = OpenAIChat({"local": client}).stream(asking(), CALL)
        assert [await anext(stream), await anext(stream)] == [TextDelta("Ye"), Usage(700, 3)]
        with pytest.raises(JobError):
            await anext(stream)


async def test_a_provider_that_sends_no_usage_leaves_it_unknown() -> None:
    async with provider(events(chunk("Yes.", "stop")), []) as client:
        assert await answer(OpenAIChat({"local": client}), asking()) == ("Yes.", Completed("stop", None))


@pytest.mark.parametrize(
    ("code", "expected"),
    [("context_length_exceeded", "model.context_too_long"), ("server_error", "model.unavailable")],
)
async def test_an_error_inside_a_stream_is_translated_as_one_before_it(code: str, expected: str) -> None:
    broken = {"error": {"message": SECRET, "code": code, "type": "server_error"}}
    async with provider(events(chunk("Half"), broken), []) as client:
        error, text = await failure(OpenAIChat({"local": client}), asking())
    assert (error.code, text) == (expected, "Half")
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 32768 tokens. However, you requested 40000 tokens.",  # vLLM, DeepSeek
        "prompt is too long: 210000 tokens > 200000 maximum",  # Anthropic
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",  # Gemini
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",  # xAI
        "the request exceeds the available context size. try increasing the context size",  # llama.cpp
    ],
)
async def test_a_prompt_that_is_too_long_is_known_by_its_words(message: str) -> None:
    refused = httpx2.Response(400, json={"error": {"message": message, "type": "invalid_request_error"}})
    async with provider(refused, []) as client:
        error, _ = await failure(OpenAIChat({"local": client}), asking())
    assert (type(error), error.code) == (Permanent, "model.context_too_long")


async def test_what_is_sent_asks_for_usage_and_bounds_the_answer() -> None:
    asked: list[httpx2.Request] = []
    async with provider(events(chunk("Yes.", "stop")), asked) as client:
        await answer(OpenAIChat({"local": client}), asking("Why?", max_tokens=77))
    [request] = asked
    assert json.loads(request.content) == {
        "model": "rowcall-local",
        "messages": [
            {"role": "system", "content": "Answer."},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Why?"},
        ],
        "max_completion_tokens": 77,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
