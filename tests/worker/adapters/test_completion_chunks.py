from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from jobs.decisions.pricing import Price, cost_usd
from jobs.ports import Usage
from tests.worker.adapters.providers import chunk
from worker.adapters.completion_chunks import Chunk, chunk_of, usage_of

FIELDS = st.sampled_from(["choices", "delta", "content", "usage", "prompt_tokens", "completion_tokens", "model"])
COUNTS = st.none() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=3)
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


@given(st.text(), st.sampled_from([None, "stop", "length"]), st.integers(9, 18), st.integers(0, 9))
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


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_whatever_a_provider_counts_is_a_cost_of_at_least_its_text_or_unknown(
    sent: Any, written: Any, total: Any, cached: Any, reasoning: Any
) -> None:
    used = usage_of(
        {
            "prompt_tokens": sent,
            "completion_tokens": written,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    if used is not None:
        assert 0 <= used.tokens_cached <= used.tokens_in < 2**31
        assert int(written) <= used.tokens_out < 2**31
        cost = cost_usd(
            Price(1.0, 0.1, 4.0),
            tokens_in=used.tokens_in,
            tokens_cached=used.tokens_cached,
            tokens_out=used.tokens_out,
        )
        assert cost is not None
        assert cost >= 4 * int(written) / 1_000_000


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (  # xAI's own example: reasoning is in total_tokens, not in completion_tokens
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 268,
                "prompt_tokens_details": {"cached_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 227},
            },
            Usage(32, 236, tokens_cached=6, tokens_reasoning=227),
        ),
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, Usage(20, 603)),  # Gemini, by gateways
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 500}},
            Usage(510, 5, tokens_cached=500),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}}, Usage(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": []}, Usage(10, 5)),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": 10, "total_tokens": 10}, None),
    ],
)
def test_tokens_are_counted_as_they_are_billed(usage: dict[str, Any], expected: Usage | None) -> None:
    assert usage_of(usage) == expected


def test_an_answer_whose_count_cannot_be_read_is_an_answer() -> None:
    assert chunk_of(chunk("Yes.", "stop", usage={"prompt_tokens": None})) == Chunk("Yes.", "stop", model="m")
