from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import pytest

from jobs.complete import complete
from jobs.decisions.pricing import Price
from jobs.decisions.prompting import Message
from jobs.decisions.routing import Routing, Rule
from jobs.errors import Refused, Retryable
from jobs.ports import Completed, Opened, Opening, Route, TextDelta, Usage
from tests.jobs.attempts import MODEL, PROMPT, attempted, claimed
from worker.adapters.memory.models import Event

INPUT = {"prompt": "Summarize: <passages>"}


async def test_the_row_s_text_goes_to_the_model_and_its_text_becomes_the_answer_without_white_space_around() -> None:
    events: list[Event] = [TextDelta(" Swallows"), TextDelta(" fly.\n"), Completed("stop", Usage(9, 3))]
    done = await attempted(complete, INPUT, events)
    assert done.finished.answer == "Swallows fly."
    assert (done.finished.output, done.finished.route) == (None, "default")
    assert done.heard == [" Swallows", " fly.\n"]
    [request] = done.requests
    assert request.messages == (Message("system", PROMPT), Message("user", "Summarize: <passages>"))
    [call] = done.calls
    assert (call.status, call.tokens_in, call.tokens_out) == ("succeeded", 9, 3)


@pytest.mark.parametrize(
    ("options", "most"), [({}, 800), ({"max_output_tokens": 20}, 20), ({"max_output_tokens": 9999}, 800)]
)
async def test_the_asker_may_want_less_and_never_more_than_the_route_allows(options: dict[str, Any], most: int) -> None:
    done = await attempted(complete, INPUT, [TextDelta("x"), Completed("length", None)], options)
    assert done.requests[0].max_output_tokens == most
    assert done.finished.output == {"warnings": ["answer.cut: the limit of output tokens was reached"]}


async def test_a_stream_that_ends_early_is_tried_again() -> None:
    with pytest.raises(Retryable, match="stream_cut"):
        await attempted(complete, INPUT, [TextDelta("Swal")])


@dataclass
class NoBudget:
    asked: list[tuple[str | None, str | None, bool]] = field(default_factory=list)
    reserved_usd: float | None = None

    def call(self, opening: Opening, *, opened: Opened | None = None) -> NoReturn:
        assert opened is not None
        self.asked.append((opening.route, opened.id, opened.is_enough_for(opening)))
        self.reserved_usd = opening.reserved_usd
        raise Refused("limits.usd_per_tenant_and_day", "no")


@pytest.mark.parametrize(("usd", "is_enough"), [(0.2, False), (0.1, True), (None, True)])
async def test_what_the_claim_reserved_for_the_usual_route_is_not_enough_for_a_dearer_one(
    usd: float | None, *, is_enough: bool
) -> None:
    ledger, usual = NoBudget(), Route("default", MODEL, 800, 2000, 5.0, 60.0, reserved_usd=0.1)
    routes = {"default": usual, "best": replace(usual, name="best", reserved_usd=usd)}
    row = {"kind": "complete", "input": INPUT}
    work, world, _ = await claimed(row, ledger=ledger, routes=routes, routing=Routing((Rule("all", "best"),)))
    with pytest.raises(Refused):
        await complete(replace(work, first_call=Opened("claimed", 0.1)), world)
    assert ledger.asked == [("best", "claimed", is_enough)]


@pytest.mark.parametrize(("characters", "usd"), [(10, 0.1), (200_000, (200_000 + len(PROMPT) + 800 * 4) / 1_000_000)])
async def test_a_prompt_that_is_longer_than_usual_reserves_more(characters: int, usd: float) -> None:
    ledger, price = NoBudget(), Price(1.0, 0.1, 4.0)
    route = Route("default", MODEL, 800, 2000, 5.0, 60.0, reserved_usd=0.1, price=price)
    row = {"kind": "complete", "input": {"prompt": "x" * characters}}
    work, world, _ = await claimed(row, ledger=ledger, routes={"default": route})
    with pytest.raises(Refused):
        await complete(replace(work, first_call=Opened("claimed", 0.1)), world)
    assert ledger.asked == [("default", "claimed", usd == 0.1)]
    assert ledger.reserved_usd == pytest.approx(usd)
