from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from jobs.ports import Usage
from tests.worker.adapters.providers import chunk
from worker.adapters.completion_chunks import Chunk, chunk_of

FIELDS = st.sampled_from(["choices", "delta", "content", "usage", "prompt_tokens", "completion_tokens", "model"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_whatever_a_provider_sends_is_a_chunk_or_unreadable(data: Any) -> None:
    try:
        assert isinstance(chunk_of(data).text, str)
    except ValueError as error:
        assert str(error).startswith("no chat completion chunk")  # noqa: PT017 - either is right


@given(st.text(), st.sampled_from([None, "stop", "length"]), st.integers(0, 9), st.integers(0, 9))
def test_a_chunk_reads_as_the_sdk_reads_it(content: str, finish: str | None, used: int, cached: int) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    usage = {"prompt_tokens": used, "completion_tokens": 1, "total_tokens": used + 1} | details
    data = chunk(content, finish, usage=usage)
    theirs = ChatCompletionChunk.model_validate(data)
    assert theirs.usage is not None
    assert chunk_of(data) == Chunk(
        theirs.choices[0].delta.content or "", finish, usage=Usage(used, 1, cached), model=theirs.model
    )


@pytest.mark.parametrize("content", [7, ["a"], {"text": "a"}])
def test_a_content_that_is_no_text_is_unreadable(content: Any) -> None:
    with pytest.raises(ValueError, match="its content is a"):
        chunk_of(chunk() | {"choices": [{"delta": {"content": content}}]})
