"""What the configuration chooses for an answer's prompt, with every port in memory."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs.answer import answer
from jobs.decisions.examples import FewShot
from jobs.decisions.fusion import Retrieving
from jobs.ports import Completed, Context, Example, TextDelta, Usage
from tests.jobs.attempts import claimed
from tests.jobs.decisions.test_fusion import candidate
from worker.adapters.memory import ScriptedModel

FRUITS = ("Apples", "Pears", "Plums", "Grapes", "Figs")


@dataclass
class Shelf:
    """The same passages and examples for every question."""

    asked: dict[str, Any] = field(default_factory=dict)

    async def context(self, *_: object, **asked: Any) -> Context:
        self.asked = asked
        found = tuple(candidate(n, f"{fruit} are ripe in autumn.", 0.9, fruit) for n, fruit in enumerate(FRUITS))
        examples = tuple(
            Example(f"When are {fruit}?", f"{fruit} later", 0.9, (0.5,) * n) for n, fruit in enumerate(FRUITS)
        )
        return Context(found, examples[: asked["max_examples"]], other_model=False, call=None)


async def prompt_by(retrieving: Retrieving, few_shot: FewShot) -> tuple[str, Shelf]:
    shelf, model = Shelf(), ScriptedModel([TextDelta("Then."), Completed("stop", Usage(9, 3))])
    work, world, _ = await claimed(
        {"kind": "answer", "input": {"question": "When are fruits ripe?"}},
        knowledge=shelf,
        model=model,
        retrieving=retrieving,
        few_shot=few_shot,
    )
    await answer(work, world)
    return "\n".join(message.content for message in model.requests[0].messages), shelf


@pytest.mark.parametrize("passages", [1, 3])
async def test_a_prompt_holds_as_many_passages_as_were_chosen(passages: int) -> None:
    prompt, shelf = await prompt_by(Retrieving(candidates=17, passages=passages), FewShot())
    assert sum(f"{fruit} are ripe" in prompt for fruit in FRUITS) == passages
    assert shelf.asked["max_chunks"] == 17


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_a_prompt_holds_as_many_examples_as_were_chosen(limit: int) -> None:
    prompt, shelf = await prompt_by(Retrieving(), FewShot(limit))
    assert sum(f"{fruit} later" in prompt for fruit in FRUITS) == limit
    assert (shelf.asked["max_examples"] == 0) == (limit == 0), "what is not shown is not read"
