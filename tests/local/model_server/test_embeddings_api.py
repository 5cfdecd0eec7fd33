import asyncio

import openai
import pytest

from tests.local.model_server.running import ModelServer

MODEL = "all-MiniLM-L6-v2"


async def test_both_encodings_carry_the_same_unit_vectors(model_server: ModelServer) -> None:
    texts = ["a short text", "another, somewhat longer text about a database", "a short text"]
    async with model_server.client() as client:
        packed = await client.embeddings.create(model=MODEL, input=texts)  # the SDK asks for base64
        listed = await client.embeddings.create(model=MODEL, input=texts, encoding_format="float", dimensions=384)
    assert [row.index for row in packed.data] == [0, 1, 2]
    assert [len(row.embedding) for row in packed.data] == [384] * 3
    for one, other in zip(packed.data, listed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-5)
    assert packed.data[0].embedding == pytest.approx(packed.data[2].embedding, abs=1e-6)
    assert packed.data[0].embedding != pytest.approx(packed.data[1].embedding, abs=1e-2)


async def test_the_usage_counts_word_pieces(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        one = await client.embeddings.create(model=MODEL, input="hello world")
    assert (one.usage.prompt_tokens, one.usage.total_tokens) == (4, 4)  # [CLS] hello world [SEP]
    assert model_server.last()["prompt_tokens"] == 4


@pytest.mark.parametrize(
    ("request_", "error", "param"),
    [
        ({"model": "text-embedding-3-small", "input": "a"}, openai.NotFoundError, "model"),
        ({"model": MODEL, "input": "a", "dimensions": 256}, openai.BadRequestError, "dimensions"),
        ({"model": MODEL, "input": ""}, openai.BadRequestError, "input"),
        ({"model": MODEL, "input": ["a", ""]}, openai.BadRequestError, "input"),
        ({"model": MODEL, "input": ["a"] * 2049}, openai.BadRequestError, "input"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    model_server: ModelServer, request_: dict[str, str], error: type[openai.APIStatusError], param: str
) -> None:
    async with model_server.client() as client:
        with pytest.raises(error) as refusal:
            await client.post("/embeddings", body=request_, cast_to=object)
    assert refusal.value.param is not None
    assert refusal.value.param.startswith(param)


async def test_a_question_overtakes_a_document_and_streams_go_on_meanwhile(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        chunks = [f"{number} {'many words of a long document ' * 40}" for number in range(24)]
        document = asyncio.create_task(client.embeddings.create(model=MODEL, input=chunks))
        await asyncio.sleep(0)
        question = await client.embeddings.create(model=MODEL, input="A question?")
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Summarize: The sky is blue."}], stream=True
        )
        streamed = [chunk async for chunk in stream]
        assert len(question.data) == 1
        assert streamed[-1].choices[0].finish_reason == "stop"
        assert not document.done()
        assert len((await document).data) == len(chunks)


async def test_single_texts_sent_at_once_come_back_each_to_its_sender(model_server: ModelServer) -> None:
    texts = [f"question number {number} about tables" for number in range(24)]
    async with model_server.client() as client:
        together = await client.embeddings.create(model=MODEL, input=texts)
        alone = await asyncio.gather(*(client.embeddings.create(model=MODEL, input=text) for text in texts))
    for one, row in zip(alone, together.data, strict=True):
        assert one.data[0].embedding == pytest.approx(row.embedding, abs=1e-5)


async def test_a_client_that_leaves_takes_its_texts_back(model_server: ModelServer) -> None:
    async with model_server.client() as client:
        chunks = [f"{number} {'many words of a long document ' * 40}" for number in range(400)]
        document = asyncio.create_task(client.embeddings.create(model=MODEL, input=chunks))
        async with model_server.client() as other:
            await other.embeddings.create(model=MODEL, input="A question?")
        document.cancel()
        await asyncio.gather(document, return_exceptions=True)
        # Were the texts still worked on, this as large one would wait behind them.
        await client.embeddings.create(model=MODEL, input=chunks[:8])
    aborted = [record for record in model_server.log() if record["outcome"] == "aborted"]
    assert [record["endpoint"] for record in aborted] == ["embeddings"]
