from hypothesis import given
from hypothesis import strategies as st

from worker.local.model_server.answering import SIGNATURE
from worker.local.model_server.summarizing import MOST_SENTENCES, NOTHING_TO_QUOTE, summarize

TICKET = (
    "The nightly export fails since Monday. I had coffee. The export runs at two and writes a file. "
    "It is sunny here. The file of the export is empty when it fails. Greetings from Kiel."
)


def plain(text: str) -> str:
    return " ".join(text.split())


@given(st.lists(st.sampled_from(TICKET.split(". ")), max_size=12).map(". ".join) | st.text())
def test_a_summary_is_made_of_the_prompt(prompt: str) -> None:
    summary = summarize(prompt)
    body = summary.removesuffix(SIGNATURE).strip()
    assert summary.endswith(SIGNATURE)
    if body != NOTHING_TO_QUOTE:
        assert all(plain(line) in plain(prompt) for line in body.split("\n\n") if "\n\n" in body)


def test_the_first_sentence_and_those_about_the_subject_are_kept_in_order() -> None:
    assert summarize(f"Summarize in one line: {TICKET}").removesuffix(SIGNATURE).strip() == (
        "The nightly export fails since Monday. The export runs at two and writes a file. "
        "The file of the export is empty when it fails."
    )


def test_a_short_text_is_quoted_whole() -> None:
    assert summarize("Classify: I want my money back!").startswith("I want my money back!")
    assert len(TICKET.split(". ")) > MOST_SENTENCES


def test_a_prompt_without_words_is_answered_honestly() -> None:
    assert summarize("…").startswith(NOTHING_TO_QUOTE)
