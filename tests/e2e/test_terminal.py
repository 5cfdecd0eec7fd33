"""An answer as `rowcall ask` shows it."""

from io import StringIO

import psycopg
import pytest
from rich.console import Console

from worker import terminal
from worker.client import Rowcall
from worker.local.stack import Stack
from worker.terminal import show_answer

QUESTION = {"question": "What is the airspeed velocity of an unladen swallow?"}


async def shown(rowcall: Rowcall) -> tuple[str, dict[str, object]]:
    """What stands in a terminal of 80 columns, and what a program reads."""
    file = StringIO()
    answer = await show_answer(rowcall, QUESTION, Console(file=file, width=80))
    return file.getvalue(), answer.as_json()


async def test_an_answer_is_followed_by_its_citations_and_times(rowcall: Rowcall) -> None:
    text, told = await shown(rowcall)
    assert told["status"] == "succeeded"
    assert text.startswith(str(told["answer"]))
    assert "  [1] Swallows · Speed · swallows.md\n" in text
    assert "finished" in text.splitlines()[-1]
    assert "!" not in text


async def test_who_waits_for_a_worker_is_told(rowcall: Rowcall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)
    text, told = await shown(rowcall)
    assert text.startswith("queued for 0 s: does a worker run? `rowcall status` looks\n")
    assert told["status"] == "succeeded"


async def test_what_the_asker_should_know_of_it_is_shown(rowcall_stack: Stack, rowcall: Rowcall) -> None:
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    with psycopg.connect(rowcall_stack.admin_db_url) as connection:
        connection.execute(
            """update rowcall.chunks c set embedding_model = 'of yesterday' from rowcall.documents d
                where d.id = c.document_id and d.user_id = %s""",
            (session.user.id,),
        )
    text, told = await shown(rowcall)
    assert "! embedding.mismatch: some chunks were embedded by another model" in text
    output = told["output"]
    assert isinstance(output, dict)
    assert output["warnings"][0].startswith("embedding.mismatch")
