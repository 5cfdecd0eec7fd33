"""What a job needs from the world: Protocols, and the values that cross them.

A job is an async function `(Work, World) -> Finished`. It reads and writes the world through the ports of its World
only, and says what went wrong by the exceptions of `jobs.errors`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.decisions.caching import OFF, CachedAnswer, Caching
from jobs.decisions.checking import Cascade, Check
from jobs.decisions.examples import FEW_SHOT, FewShot
from jobs.decisions.falling_back import NO_CHAINS, Chains, Failure
from jobs.decisions.fusion import RETRIEVING, Candidate, Retrieving
from jobs.decisions.pricing import Price, most_usd
from jobs.decisions.prompting import Message, Template
from jobs.decisions.routing import Routing

Json = Mapping[str, Any]
Vectors = NDArray[np.float32]  # (n, 384), unit length
Embedding = NDArray[np.float32]  # (384,), unit length


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at one generation, as the claim gave it out."""

    id: str
    attempt: int  # the fencing token: every write-back names it
    tries: int  # this one included; releases do not count
    kind: str
    lane: str
    tenant: str | None
    user_id: str | None
    input: Json
    options: Json
    created_at: datetime
    first_call: "Opened | None"  # the ledger row that the claim opened for the job's first model call
    broken_off: tuple[Failure, ...] = ()  # routes of earlier attempts that failed in mid-answer, in their order
    budget_left_share: float | None = None  # of the tenant's budget of today, 1: all; None: there is none


@dataclass(frozen=True, slots=True)
class Reusable:
    """What makes an answer one that can be given again: kept beside it once it is finished."""

    scope: str
    key: str  # as jobs.decisions.caching makes it, the scope as well
    question: str
    embedding: Embedding
    embedding_model: str
    chunk_ids: tuple[int, ...]  # in the prompt
    seen_chunk_ids: tuple[int, ...]  # found, in the prompt or not
    had_examples: bool  # in the prompt: they are the asker's own
    ttl_s: float
    stale_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """What a job hands back. The executor adds tokens, cost and times from the attempt's ledger and stream."""

    answer: str | None = None
    output: Json | None = None
    citations: Sequence[Json] = ()
    route: str | None = None
    route_reason: str | None = None  # rule:<name>, classifier or default; cascade:<checks> that its cheap answer failed
    variant: str | None = None
    prompt_version: str | None = None
    needs_review: bool = False
    reusable: Reusable | None = None
    noted: Mapping[str, int] = field(default_factory=dict)  # for the line that ends the attempt: numbers, no text


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them."""

    tokens_in: int
    tokens_out: int = 0
    tokens_cached: int = 0  # of tokens_in, read from the provider's prompt cache
    tokens_reasoning: int = 0  # of tokens_out


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model as the ledger names it."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Context:
    """What retrieval found as the row's owner, and the ledger row that it opened for the model call that follows."""

    candidates: tuple[Candidate, ...]
    examples: tuple["Example", ...]  # nearest first
    other_model: bool  # the owner has chunks whose vectors are another embedding model's: they cannot be found
    call: "Opened | None"  # the ledger row of the model call that follows
    cached: tuple[CachedAnswer, ...] = ()  # answers to questions like this one, nearest first
    # Of the question's words, the share of all chunks that hold each, above 0; empty: nobody has counted yet.
    word_shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    question: str
    answer: str
    similarity: float  # cosine, -1 to 1
    to_nearer: tuple[float, ...]  # the cosines of its question with those of the examples before it, in their order


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that the document already has."""

    content_hash: str
    occurrence: int
    embedding_model: str | None
    has_units: bool = False  # whether its sentences are embedded


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    title: str | None
    source: str | None
    media_type: str
    content: str  # application/pdf: base64
    metadata: Json
    revision: int
    chunks: tuple[StoredChunk, ...]


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to write. Without an embedding it keeps the one that is stored under its hash and occurrence."""

    ordinal: int
    content: str
    heading_path: tuple[str, ...]
    start_char: int
    end_char: int
    tokens: int
    content_hash: str
    occurrence: int
    metadata: Json = field(default_factory=dict)
    embedding: Embedding | None = None
    unit_embeddings: Vectors | None = None  # of its units, in their order: what belongs to the embedding beside it


class Knowledge(Protocol):
    """Documents and chunks, read and written in the name of a generation's owner.

    Every method raises `jobs.errors.AttemptLost` when another attempt has taken over, `Retryable` when the database
    cannot be reached.
    """

    async def context(
        self,
        work: Work,
        question: str,
        vector: Vectors,
        opens: "Opening",
        *,
        max_chunks: int,
        max_examples: int,
        cache_scope: str | None = None,
    ) -> Context:
        """Chunks near the question, read as the owner, and the opened ledger row. `vector` is (1, 384).

        Cached answers are looked up in `cache_scope`; None: there are none.
        """
        ...

    async def document(self, work: Work) -> Document | None:
        """The document that an ingest names; None: it is gone, or its owner may not read it."""
        ...

    async def store_chunks(self, work: Work, document: Document, chunks: Sequence[NewChunk], *, is_last: bool) -> None:
        """Writes a page of chunks; the last page removes what no page named. `Superseded`: the document has changed."""
        ...


class Examples(Protocol):
    """Examples that wait for their question's vector. Raises as Knowledge."""

    async def question(self, work: Work) -> str | None:
        """Of the example that the row names; None: it is gone, or the owner may not read it, or what it cites."""
        ...

    async def learn(self, work: Work, embedding: Embedding) -> bool:
        """Stores the question's vector. False: the example is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    vectors: Vectors
    usage: Usage | None  # None where the provider counts no tokens


class Embedder(Protocol):
    """The embedding model. Its name is stored beside each vector; vectors of different models never mix."""

    @property
    def name(self) -> ModelName: ...

    async def embed(self, texts: Sequence[str], call_id: str) -> Embedded:
        """Unit vectors, one a text, in order. Raises Retryable or Permanent.

        The provider is told `call_id`, the ledger's, so that its log and the ledger can be joined.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How well each passage answers the question, in their order; on the model's own scale, higher is better."""

    scores: tuple[float, ...]
    usage: Usage | None  # None where the provider counts no tokens


class Reranker(Protocol):
    """A model that reads a question and a passage together, which tells more than two vectors, and takes longer."""

    @property
    def name(self) -> ModelName: ...

    async def rerank(self, question: str, passages: Sequence[str], call_id: str) -> Reading:
        """Raises Retryable, Permanent or Refused. `call_id` as in Embedder."""
        ...


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: ModelName
    messages: tuple[Message, ...]
    max_output_tokens: int
    first_token_timeout_s: float
    total_timeout_s: float
    left_s: float = inf  # for the answer and what it waits for before it is asked for


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The stream's last event. usage is None where the provider sent none."""

    finish: Literal["stop", "length"]
    usage: Usage | None


ChatEvent = TextDelta | Usage | Completed


class ChatModel(Protocol):
    def stream(self, request: ChatRequest, call_id: str) -> AsyncGenerator[ChatEvent, None]:
        """Text as it comes, then one Completed. `call_id` as in Embedder.

        Where a stream fails although the provider has told what it used, as it does of a refusal, that comes before
        the error. Raises Retryable (429, 5xx, timeouts, a cut stream), Permanent, Refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What the ledger knows of a call before it is made."""

    purpose: str
    model: ModelName
    route: str | None = None
    reserved_usd: float | None = None  # the most that it may cost; None: nobody knows, and no budget can forbid it


@dataclass(frozen=True, slots=True)
class Opened:
    """A ledger row that stands open for a call before it is known who is asked, and how much."""

    id: str
    reserved_usd: float | None = None

    def is_enough_for(self, opening: Opening) -> bool:
        most = opening.reserved_usd
        return most is None or (self.reserved_usd is not None and most <= self.reserved_usd)


class Call(Protocol):
    """An open ledger row.

    A provider tells what a call used at its end. Of a call that ends earlier, and of a provider that does not tell,
    what was sent and received is counted here and booked as an estimate; of a call that failed before any text had
    arrived, what it used stays unknown.
    """

    @property
    def id(self) -> str: ...

    def used(self, usage: Usage) -> None:
        """Takes the provider's count."""
        ...

    def sends(self, prompt: Sequence[str]) -> None:
        """Notes the texts of the prompt."""
        ...

    def received(self, text: str) -> None:
        """Notes a piece of the answer, which arrived now."""
        ...

    def held_back(self) -> None:
        """Notes that clients see nothing of the answer before it is checked: if it breaks off, they have seen none."""
        ...

    def checked(self, failed: Sequence[Check]) -> None:
        """Notes which checks the whole answer failed."""
        ...

    def spared(self, cached: CachedAnswer) -> None:
        """Notes that the model was not asked: this answer was given again."""
        ...


class Ledger(Protocol):
    """Every model call of an attempt. A call is closed when its block ends: by an exception, as failed."""

    def call(self, opening: Opening, *, opened: Opened | None = None) -> AbstractAsyncContextManager[Call]:
        """The call's block. `opened`: the ledger row that claim or context opened; without it one is opened first.
        Where what is reserved there is not enough for this call, a row of its own takes its place.

        Raises Refused where the tenant's budget of the day does not allow the call: then it must not be made.
        """
        ...


class Circuits(Protocol):
    """The circuit breakers of providers, shared by the fleet. They save time: without their store all are closed."""

    async def admits(self, provider: str) -> bool:
        """Whether a call may be made now. True may be the one call that finds out: `record` how it ended."""
        ...

    async def record(self, provider: str, code: str | None) -> None:
        """How a call ended; None: with an answer."""
        ...


class AnswerStream(Protocol):
    """The text on its way to the client, in order; coalesced into deltas and checkpoints by the machine."""

    async def write(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """A way to answer: the model and its limits. Jobs name routes, never models."""

    name: str
    model: ModelName
    max_output_tokens: int
    context_budget_tokens: int
    first_token_timeout_s: float
    total_timeout_s: float
    chains: Chains = NO_CHAINS
    reserved_usd: float | None = None  # the most that a call with a usual prompt costs; None: its price is unknown
    cascade: Cascade | None = None  # its answer is checked before anybody sees it
    price: Price | None = None  # of its model

    def opening(self, purpose: str, *, prompt_tokens: int = 0) -> Opening:
        """Reserves more than usual for a prompt that is longer: a question may be."""
        most = most_usd(self.price, tokens_in=prompt_tokens, tokens_out=self.max_output_tokens)
        reserved = max((usd for usd in (self.reserved_usd, most) if usd is not None), default=None)
        return Opening(purpose, self.model, self.name, reserved)


@dataclass(frozen=True, slots=True)
class World:
    """The ports of one attempt, and the configuration that jobs may read."""

    knowledge: Knowledge
    examples: Examples
    embedder: Embedder
    model: ChatModel
    ledger: Ledger
    stream: AnswerStream
    circuits: Circuits
    count_tokens: Callable[[str], int]
    routes: Mapping[str, Route]  # by name; there is one named default
    routing: Routing
    prompts: Mapping[str, Template]  # by file name without its ending
    retrieving: Retrieving = RETRIEVING
    few_shot: FewShot = FEW_SHOT
    caching: Caching = OFF
    reranker: Reranker | None = None
    embeds_units: bool = False  # whether an ingest embeds sentences beside their chunk
    embedding_price: Price | None = None  # None: it is unknown, and no budget can forbid an embedding
    reranker_price: Price | None = None  # the same of a reranker


Job = Callable[[Work, World], Awaitable[Finished]]
