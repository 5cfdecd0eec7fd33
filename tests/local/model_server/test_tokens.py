from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.tokens import count_tokens
from worker.local.model_server import tokens

REPOSITORY = Path(__file__).parents[3]


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens.split(text)) == text


def test_there_are_about_as_many_as_openai_counts() -> None:
    for path in (REPOSITORY / "README.md", REPOSITORY / "jobs" / "prompts" / "answer.md"):
        text = path.read_text(encoding="utf-8")
        assert 0.85 <= tokens.count(text) / count_tokens(text) <= 1.2
