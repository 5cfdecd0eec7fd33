from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.complete import complete
from jobs.decisions.prompting import Message, Template
from jobs.errors import Retryable
from jobs.ports import Completed, ModelName, Route, TextDelta, Usage, Work, World
from worker.adapters.memory import HashEmbedder, MemoryDatabase, MemoryKnowledge, MemoryRows, ScriptedModel
from worker.adapters.memory.models import Event
from worker.ledger import AttemptLedger

EMBEDDER = HashEmbedder()
MODEL = ModelName("memory", "scripted")


@dataclass
class Heard:
    """The stream, as the client hears it."""

    texts: list[str] = field(default_factory=list)

    async def write(self, text: str) -> None:
        self.texts.append(text)


async def ask(events: Iterable[Event], heard: Heard, **options: Any) -> tuple[Any, ScriptedModel, AttemptLedger]:
    database, model = MemoryDatabase(lambda: datetime.now(UTC)), ScriptedModel(events)
    rows = MemoryRows(database, worker="w", lease_s=30, opens={})
    id = database.insert(kind="complete", input={"prompt": "Summarize: <passages>"}, options=options)
    work = await rows.claim(id)
    assert isinstance(work, Work)
    ledger = AttemptLedger(work, rows, {}, len, lambda: 0.0)
    world = World(
        knowledge=MemoryKnowledge(database, embedding_model=EMBEDDER.name),
        embedder=EMBEDDER,
        model=model,
        ledger=ledger,
        stream=heard,
        count_tokens=len,
        route=Route("default", MODEL, 800, 2000, 5.0, 60.0),
        prompts={"complete": Template.of("complete", "Fill the field.")},
    )
    return await complete(work, world), model, ledger


async def test_the_row_s_text_goes_to_the_model_and_its_text_becomes_the_answer_without_white_space_around() -> None:
    heard = Heard()
    events: list[Event] = [TextDelta(" Swallows"), TextDelta(" fly.\n"), Completed("stop", Usage(9, 3))]
    finished, model, ledger = await ask(events, heard)
    assert finished.answer == "Swallows fly."
    assert (finished.output, finished.route) == (None, "default")
    assert heard.texts == [" Swallows", " fly.\n"]
    [request] = model.requests
    assert request.messages == (Message("system", "Fill the field."), Message("user", "Summarize: <passages>"))
    [closing] = ledger.closings
    assert (closing.status, closing.tokens_in, closing.tokens_out) == ("succeeded", 9, 3)


@pytest.mark.parametrize(
    ("options", "most"), [({}, 800), ({"max_output_tokens": 20}, 20), ({"max_output_tokens": 9999}, 800)]
)
async def test_the_asker_may_want_less_and_never_more_than_the_route_allows(options: dict[str, Any], most: int) -> None:
    finished, model, _ledger = await ask([TextDelta("x"), Completed("length", None)], Heard(), **options)
    assert model.requests[0].max_output_tokens == most
    assert finished.output == {"warnings": ["answer.cut: the limit of output tokens was reached"]}


async def test_a_stream_that_ends_early_is_tried_again() -> None:
    with pytest.raises(Retryable, match="stream_cut"):
        await ask([TextDelta("Swal")], Heard())
