"""One attempt of a job, with every port in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jobs.decisions.prompting import Template
from jobs.decisions.routing import DEFAULT_ROUTING
from jobs.ports import ChatRequest, Finished, Job, ModelName, Route, Work, World
from worker.adapters.memory import (
    HashEmbedder,
    MemoryCircuits,
    MemoryDatabase,
    MemoryExamples,
    MemoryKnowledge,
    MemoryRows,
    ScriptedModel,
)
from worker.adapters.memory.models import Event
from worker.ledger import AttemptLedger
from worker.ports import Closing

MODEL = ModelName("memory", "scripted")
PROMPT = "Do what the job's prompt file says."


@dataclass(frozen=True, slots=True)
class Attempted:
    """What a job made of its row, and what it did to the world."""

    finished: Finished
    heard: Sequence[str]  # the stream, as the client hears it
    requests: Sequence[ChatRequest]  # to the model
    calls: Sequence[Closing]  # in the ledger


@dataclass
class _Stream:
    texts: list[str] = field(default_factory=list)

    async def write(self, text: str) -> None:
        self.texts.append(text)


async def attempted(
    job: Job, input: Mapping[str, Any], events: Iterable[Event], options: Mapping[str, Any] | None = None
) -> Attempted:
    """`events`: what the model streams. The job's kind and its prompt are named after its function."""
    name, model, stream = getattr(job, "__name__", "answer"), ScriptedModel(events), _Stream()
    row = {"kind": name, "input": dict(input), "options": dict(options or {})}
    work, world, ledger = await claimed(row, model=model, stream=stream)
    return Attempted(await job(work, world), stream.texts, model.requests, ledger.closings)


async def claimed(row: Mapping[str, Any], **ports: Any) -> tuple[Work, World, AttemptLedger]:
    """A row's first attempt in a world of its own; `ports` take the place of those in memory."""
    database, embedder = MemoryDatabase(lambda: datetime.now(UTC)), HashEmbedder()
    rows = MemoryRows(database, worker="w", lease_s=30, opens={})
    work = await rows.claim(database.insert(**row))
    assert isinstance(work, Work)
    ledger = AttemptLedger(work, rows, {}, len, lambda: 0.0)
    world = World(
        knowledge=MemoryKnowledge(database, embedding_model=embedder.name),
        examples=MemoryExamples(database),
        embedder=embedder,
        model=ScriptedModel([]),
        ledger=ledger,
        stream=_Stream(),
        count_tokens=len,
        circuits=MemoryCircuits(),
        routes={"default": Route("default", MODEL, 800, 2000, 5.0, 60.0)},
        routing=DEFAULT_ROUTING,
        prompts={work.kind: Template.of(work.kind, PROMPT)},
    )
    return work, replace(world, **ports), ledger
