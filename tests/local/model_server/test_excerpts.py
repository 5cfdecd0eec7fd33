from hypothesis import given
from hypothesis import strategies as st

from worker.local.model_server.excerpts import excerpts

LINES = st.sampled_from(
    [
        "",
        "Redis keeps data in memory.",
        "It is fast. Dr. Who uses version 7.2 of it, e.g. for caches.",
        "Run this:",
        "Enable the extension",
        "## Installation",
        "Installation",
        "------------",
        "- the first item",
        "  which goes on",
        "* another [link](https://example.org/a)",
        "1. a numbered one",
        "```sql",
        "```",
        "select 1;",
        "    indented code",
        "| a | b |",
        "| - | - |",
    ]
)
TEXTS = st.lists(LINES, max_size=25).map("\n".join)


def plain(text: str) -> str:
    return " ".join(text.split())


@given(TEXTS | st.text())
def test_every_excerpt_stands_in_the_text(text: str) -> None:
    for excerpt in excerpts(text):
        assert plain(excerpt.text)
        assert plain(excerpt.text) in plain(text)


@given(TEXTS)
def test_a_fence_is_never_torn(text: str) -> None:
    for excerpt in excerpts(text):
        fenced = False
        for line in excerpt.text.split("\n"):
            if line.startswith("```"):
                fenced = not fenced or line != "```"  # a fence with a language opens, it never closes
        assert not fenced


@given(TEXTS)
def test_only_what_ends_in_a_block_ends_with_code_or_a_table(text: str) -> None:
    for excerpt in excerpts(text):
        last = excerpt.text.split("\n")[-1]
        assert not excerpt.ends_in_block or last.startswith(("```", "    ", "|", "  which"))
        assert excerpt.ends_in_block or not last.startswith("```")
        assert not (excerpt.is_sentence and "\n" in excerpt.text)


def test_sentences_end_where_a_reader_sees_an_end() -> None:
    text = 'Dr. Who uses version 7.2 of it, e.g. for caches. "Fast!" he says. Is it? Yes, since J. Doe\nmeasured it.'
    assert [excerpt.text for excerpt in excerpts(text)] == [
        "Dr. Who uses version 7.2 of it, e.g. for caches.",
        '"Fast!" he says.',
        "Is it?",
        "Yes, since J. Doe measured it.",
    ]


def test_what_a_sentence_announces_stays_with_it() -> None:
    text = (
        "## Setup\n\nTwo ways. Enable it:\n\n```sql\ncreate extension vector;\n```\n\n"
        "Choose one:\n\n- hnsw\n- ivfflat\n\nRestart."
    )
    found = excerpts(text)
    assert [excerpt.text for excerpt in found] == [
        "Two ways.",
        "Enable it:\n\n```sql\ncreate extension vector;\n```",
        "Choose one:\n\n- hnsw\n- ivfflat",
        "Restart.",
    ]
    assert {excerpt.heading for excerpt in found} == {"Setup"}


def test_an_announcement_whose_list_is_too_long_is_dropped_and_its_items_stay() -> None:
    items = [f"- item {number} {'with many words ' * 10}".rstrip() for number in range(10)]
    found = [excerpt.text for excerpt in excerpts("All of them:\n\n" + "\n".join(items))]
    assert found == items
