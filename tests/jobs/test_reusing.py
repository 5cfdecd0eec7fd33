"""Which answers of a cascade are given again, and to whom."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jobs.completions import Completion
from jobs.decisions.caching import Caching
from jobs.decisions.checking import Cascade
from jobs.decisions.prompting import Template
from jobs.decisions.routing import DEFAULT_ROUTING
from jobs.ports import Completed, Context, ModelName, Route, Work, World
from jobs.questions import Question
from jobs.reusing import Reusing
from tests.jobs.attempts import _Stream
from worker.adapters.memory import (
    HashEmbedder,
    MemoryCircuits,
    MemoryDatabase,
    MemoryExamples,
    MemoryKnowledge,
    MemoryRows,
    ScriptedModel,
)
from worker.ledger import AttemptLedger

CHEAP = Route("default", ModelName("p", "cheap"), 800, 2000, 5.0, 60.0)
STRONG = Route("strong", ModelName("p", "strong"), 1200, 3000, 5.0, 60.0)
CASCADE = Cascade("strong", ("ending", "arithmetic"))
CHECKED = replace(CHEAP, cascade=CASCADE)
NOTHING = Context((), (), other_model=False, call=None)


def work_of(options: Mapping[str, Any]) -> Work:
    return Work(
        "id", 1, 1, "answer", "interactive", "tenant", "user", {"question": "?"}, options, datetime.now(UTC), None
    )


def world_of(strong: Route) -> World:
    database = MemoryDatabase()
    rows = MemoryRows(database, worker="w", lease_s=30, opens={})
    return World(
        knowledge=MemoryKnowledge(database, embedding_model=HashEmbedder().name),
        embedder=HashEmbedder(),
        model=ScriptedModel(),
        ledger=AttemptLedger(work_of({}), rows, {}, len, lambda: 0.0),
        stream=_Stream(),
        circuits=MemoryCircuits(),
        examples=MemoryExamples(database),
        count_tokens=len,
        routes={"default": CHEAP, "strong": strong},
        routing=DEFAULT_ROUTING,
        prompts={"answer": Template.of("answer", "Answer.")},
        caching=Caching(mode="exact"),
    )


def reusing(route: Route, strong: Route = STRONG, **options: str) -> Reusing:
    work = work_of(options)
    return Reusing.of(work, Question.of(work), route, world_of(strong))


def is_kept(completion: Completion) -> bool:
    entry = reusing(CHECKED).entry(completion, NOTHING, (), np.zeros(384, np.float32), cites=True)
    return entry is not None


def test_an_answer_of_a_cascade_is_shared_only_with_who_would_ask_the_same_cascade() -> None:
    scopes = [
        reusing(CHEAP).scope,
        reusing(CHECKED).scope,
        reusing(replace(CHEAP, cascade=replace(CASCADE, checks=("ending",)))).scope,
        reusing(CHECKED, replace(STRONG, model=ModelName("p", "stronger"))).scope,
        reusing(STRONG).scope,
    ]
    assert len(set(scopes)) == len(scopes)
    assert reusing(CHECKED).scope == reusing(CHECKED).scope
    assert reusing(CHECKED, quality="fast").scope == reusing(CHEAP).scope  # no cascade for who is in a hurry


def test_an_escalated_answer_is_kept_and_one_that_failed_its_checks_is_not() -> None:
    whole = Completed("stop", None)
    assert is_kept(Completion("It is [1].", whole, "default", "default"))
    assert is_kept(Completion("It is [1].", whole, "strong", "strong", failed_checks=("arithmetic",)))
    given_all_the_same = Completion(
        "It is [1].", whole, "default", "default", failed_checks=("arithmetic",), unchecked="and strong was down"
    )
    assert not is_kept(given_all_the_same)
    assert not is_kept(Completion("It is [1].", whole, "strong", "default"))  # a fallback's
