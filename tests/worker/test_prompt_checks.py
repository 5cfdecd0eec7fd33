from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from worker.cli import app
from worker.prompt_checks import check_prompts, text_problems


@given(st.text(alphabet=st.characters(exclude_characters="{}"), min_size=1).filter(lambda text: text.strip()))
def test_any_text_without_braces_that_ends_with_one_line_feed_is_in_order(text: str) -> None:
    assert text_problems(text.rstrip("\n") + "\n") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("Answer.\n\nToday is {{ today }}.\n", "line 3: nothing fills {{ today }}"),
        ("{% if long %}Be brief.\n", "line 1: nothing fills {% if long %}"),
        ("Answer.", "one line feed"),
        ("Answer.\n\n", "one line feed"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str) -> None:
    [problem] = text_problems(text)
    assert says in problem


def test_a_file_that_no_job_reads_and_one_that_nobody_can_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "answer.md").write_text("Answer.\n")
    (tmp_path / "awnser.md").write_text("Answer.\n")
    (tmp_path / "latin.md").write_bytes(b"R\xe9ponds.\n")
    answer, misspelt, latin = check_prompts(tmp_path, ["answer", "latin"], len)
    assert (answer.problems, answer.tokens) == ((), 8)
    assert "no job is named awnser" in misspelt.problems[0]
    assert (latin.version, latin.problems) == (None, ("byte 1 is no UTF-8",))


def test_the_shipped_prompts_are_in_order() -> None:
    shown = CliRunner().invoke(app, ["prompts", "check"])
    assert shown.exit_code == 0, shown.output
    assert "answer" in shown.stdout
