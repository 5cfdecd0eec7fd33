import hashlib
from collections.abc import AsyncGenerator, Iterable, Sequence

import numpy as np

from jobs.ports import ChatEvent, ChatRequest, Embedded, Embedding, ModelName, Usage, Vectors

DIMENSIONS = 384
HASH = ModelName("memory", "hash")

Event = ChatEvent | Exception


class ScriptedModel:
    """`jobs.ports.ChatModel` that plays one script a request: it yields the events and raises the errors.

    `requests` keeps what was asked.
    """

    def __init__(self, *scripts: Iterable[Event]) -> None:
        self.requests: list[ChatRequest] = []
        self._scripts = list(scripts)

    async def stream(
        self,
        request: ChatRequest,
        call_id: str,  # noqa: ARG002 - there is nobody to tell
    ) -> AsyncGenerator[ChatEvent, None]:
        self.requests.append(request)
        if not self._scripts:
            raise AssertionError("the script has no further request")
        for event in self._scripts.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


class HashEmbedder:
    """`jobs.ports.Embedder` without a model: texts that share words are near each other. `texts`: what it embedded."""

    def __init__(self, name: ModelName = HASH) -> None:
        self._name = name
        self.texts: list[str] = []

    @property
    def name(self) -> ModelName:
        return self._name

    async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:  # noqa: ARG002 - there is nobody to tell
        self.texts += texts
        vectors: Vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = unit_vector(text)
        return Embedded(vectors, Usage(tokens_in=sum(len(text.split()) for text in texts)))


def unit_vector(text: str) -> Embedding:
    """(384,), unit length: the sum of a random direction for each word, and a little of one for the whole text."""
    total = 0.01 * direction(text)
    for word in text.lower().split():
        total = total + direction(word)
    return (total / np.linalg.norm(total)).astype(np.float32)


def direction(word: str) -> Embedding:
    seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8])
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
