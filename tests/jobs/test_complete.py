from typing import Any

import pytest

from jobs.complete import complete
from jobs.decisions.prompting import Message
from jobs.errors import Retryable
from jobs.ports import Completed, TextDelta, Usage
from tests.jobs.attempts import PROMPT, attempted
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
