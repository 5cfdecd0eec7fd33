import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.prompting import Message
from jobs.errors import Retryable
from jobs.ports import ChatRequest, Completed, ModelName, TextDelta, Usage
from worker.adapters.memory import HashEmbedder, ScriptedModel
from worker.adapters.memory.models import unit_vector

CALL = "the ledger's id"
REQUEST = ChatRequest(ModelName("p", "m"), (Message("user", "Hi"),), 100, 1.0, 10.0)
DONE = Completed("stop", Usage(1, 2))


async def test_each_request_plays_the_next_script() -> None:
    model = ScriptedModel([TextDelta("He"), TextDelta("y"), DONE], [DONE])
    assert [event async for event in model.stream(REQUEST, CALL)] == [TextDelta("He"), TextDelta("y"), DONE]
    assert [event async for event in model.stream(REQUEST, CALL)] == [DONE]
    assert model.requests == [REQUEST, REQUEST]


async def test_an_error_in_the_script_is_raised_where_it_stands() -> None:
    model = ScriptedModel([TextDelta("He"), Retryable("model.limited", "later")])
    stream = aiter(model.stream(REQUEST, CALL))
    assert await anext(stream) == TextDelta("He")
    with pytest.raises(Retryable):
        await anext(stream)


async def test_a_request_that_no_script_foresees_is_a_mistake_of_the_test() -> None:
    with pytest.raises(AssertionError):
        [event async for event in ScriptedModel().stream(REQUEST, CALL)]


@given(st.text())
def test_vectors_have_unit_length_and_depend_on_the_text_alone(text: str) -> None:
    assert np.linalg.norm(unit_vector(text)) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(unit_vector(text), unit_vector(text))


async def test_texts_that_share_words_are_nearer_than_texts_that_do_not() -> None:
    embedder = HashEmbedder()
    embedded = await embedder.embed(["the north wind", "a north wind", "forty two"], CALL)
    assert embedded.vectors.shape == (3, 384)
    assert embedded.vectors.dtype == np.float32
    near, far = embedded.vectors[0] @ embedded.vectors[1], embedded.vectors[0] @ embedded.vectors[2]
    assert near > 0.4 > abs(far)
    assert embedded.usage == Usage(tokens_in=8)


async def test_no_texts_are_no_vectors() -> None:
    assert (await HashEmbedder().embed([], CALL)).vectors.shape == (0, 384)
