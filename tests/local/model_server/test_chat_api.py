import hashlib
import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.local.model_server.running import ModelServer
from worker.local.model_server import tokens
from worker.local.model_server.answering import SIGNATURE, UNKNOWN

PROMPT = """<passages>
<passage id="1" title="Security" path="Tables">
Enable row level security with `alter table`. Policies decide who reads what.
</passage>
</passages>

<question>
How do I enable row level security?
</question>"""
ANSWER = f"Enable row level security with `alter table`. [1]\n\n{SIGNATURE}"
MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You answer from passages."},
    {"role": "user", "content": PROMPT},
]


async def test_a_stream_and_a_whole_answer_say_the_same(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        whole = await client.chat.completions.create(model="rowcall-local", messages=MESSAGES)
        stream = await client.chat.completions.create(
            model="rowcall-local", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == ANSWER
    assert whole.choices[0].finish_reason == "stop"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {model_server.last()["completion_id"]}
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


async def test_the_usage_counts_the_prompt_and_the_answer(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        whole = await client.chat.completions.create(model="any-name", messages=MESSAGES)
    assert whole.model == "any-name"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == tokens.count(ANSWER)
    assert whole.usage.prompt_tokens > tokens.count(PROMPT)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 0


async def test_a_stream_without_usage_ends_with_its_reason(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_long_prefix_is_cached_when_it_comes_again(model_server: ModelServer) -> None:
    system: ChatCompletionMessageParam = {"role": "system", "content": "Policy. " * 700}

    async def cached_tokens(model: str, question: str) -> int | None:
        messages: list[ChatCompletionMessageParam] = [system, {"role": "user", "content": question}]
        answer = await client.chat.completions.create(model=model, messages=messages)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens

    async with model_server.client() as client:
        assert await cached_tokens("cached-a", "first") == 0
        assert await cached_tokens("cached-a", "second") == 1280  # of 1,404 tokens, in steps of 128
        assert await cached_tokens("cached-b", "first") == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_is_no_longer_than_allowed(model_server: ModelServer, name: str) -> None:
    body = {"model": "m", "messages": MESSAGES, name: 3}
    async with model_server.client() as client:
        answer = await client.post("/chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion)
    assert answer.choices[0].message.content == "Enable row level"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


async def test_a_prompt_without_passages_is_summarized(model_server: ModelServer) -> None:
    content = [{"type": "text", "text": "Summarize: The sky is blue."}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    async with model_server.client() as client:
        answer = await client.post("/chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion)
    assert answer.choices[0].message.content == f"The sky is blue.\n\n{SIGNATURE}"


async def test_what_the_passages_do_not_hold_is_not_known(model_server: ModelServer) -> None:
    prompt = PROMPT.replace("How do I enable row level security?", "Who won the world cup?")
    async with model_server.client() as client:
        answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
    assert answer.choices[0].message.content == f"{UNKNOWN}\n\n{SIGNATURE}"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages"),
        ({"model": "all-MiniLM-L6-v2"}, "model"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(
    model_server: ModelServer, change: dict[str, object], param: str
) -> None:
    body = {"model": "m", "messages": MESSAGES} | change
    async with model_server.client() as client:
        with pytest.raises(openai.APIStatusError) as refusal:
            await client.post("/chat/completions", body=body, cast_to=object)
    assert refusal.value.status_code in {400, 404}
    assert refusal.value.param is not None
    assert refusal.value.param.startswith(param)
    assert refusal.value.type == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(model_server: ModelServer, body: bytes) -> None:
    answer = model_server.control.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_path_is_answered_in_openais_shape(model_server: ModelServer) -> None:
    answer = model_server.control.get("/v1/responses")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_the_models_are_listed(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        listed = await client.models.list()
    assert [model.id for model in listed.data] == ["rowcall-local", "all-MiniLM-L6-v2"]


async def test_the_log_tells_all_but_the_text(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, extra_headers={"X-Client-Request-Id": "call-7"}
        )
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    streamed, whole = (r for r in model_server.log() if r["endpoint"] == "chat")
    assert streamed["client_request_id"] == "call-7"
    assert whole["request_id"] == raw.headers["x-request-id"]
    assert whole["prompt_sha256"] == hashlib.sha256(f"You answer from passages.\n{PROMPT}".encode()).hexdigest()
    assert (whole["status"], whole["outcome"], whole["finish_reason"]) == (200, "finished", "stop")
    assert whole["started_at"] <= whole["finished_at"]
    assert "security" not in json.dumps(model_server.log())
