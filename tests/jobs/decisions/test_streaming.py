import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.streaming import HOLD_CHARS, safe_prefix, utf16_length

# What must never be shown in halves.
WHOLE = re.compile(
    r"!?\[[^\[\]\n]+\]\([^()\s]+\)|<[a-z/][^<>]*>|\bhttps?://[^\s<>()\[\]]+|\[\d(?:, \d)*\]|\U0001f468\u200d\U0001f467"
)

parts = st.sampled_from(
    (
        *(
            "word ",
            "a < b ",
            "! ",
            "h",
            "http ",
            "x[0] = y\n",
            "\n\n",
            "[open ",
            "(aside) ",
            "\U0001f642",
            "1 [",
            "]",
            "<",
        ),
        *("[docs](https://example.org/a_(b)?q=1) ", "![pic](http://x.y/z.png)", "see [1, 2]. ", "[3]", "<b class='x'>"),
        *("http://example.org/long/path ", "\U0001f468\u200d\U0001f467", "<!-- note --> "),
    )
)
texts = st.lists(parts, max_size=15).map("".join)


def released(text: str, sizes: list[int]) -> list[str]:
    """The text as a client sees it come, fed in pieces of these sizes."""
    shown, held, position = [], "", 0
    for size in [*sizes, len(text)]:
        held += text[position : position + size]
        position += size
        safe = safe_prefix(held)
        shown.append(safe)
        held = held[len(safe) :]
    return [*shown, held]


@given(texts | st.text(max_size=60), st.lists(st.integers(1, 9), max_size=30))
def test_what_is_shown_and_what_is_held_back_are_the_text(text: str, sizes: list[int]) -> None:
    assert "".join(released(text, sizes)) == text


@settings(max_examples=200)
@given(texts, st.lists(st.integers(1, 9), max_size=60))
def test_no_link_tag_address_or_citation_is_shown_in_halves(text: str, sizes: list[int]) -> None:
    ends, end = set(), 0
    for piece in released(text, sizes):
        end += len(piece)
        ends.add(end)
    for found in WHOLE.finditer(text):
        assert not ends & set(range(found.start() + 1, found.end()))


@given(st.sampled_from(("[", "<a ", "http://x", "[a](", "![", "[[", "<!-- ", "(", "a\u200d")), st.integers(1, 400))
def test_no_more_than_the_limit_is_held_back(pattern: str, times: int) -> None:
    text = pattern * times
    assert len(text) - len(safe_prefix(text)) <= HOLD_CHARS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Plain words.", "Plain words."),
        ("As said [1", "As said "),
        ("As said [1]", "As said "),
        ("As said [1].", "As said [1]."),
        ("See [the docs](https://exa", "See "),
        ("See [![logo](a.png)](https://exa", "See "),
        ("See ![", "See "),
        ("Click <a href='x", "Click "),
        ("if a < b", "if a < b"),
        ("At https", "At "),
        ("At https://example.org/a", "At "),
        ("At https://example.org/a ", "At https://example.org/a "),
        ("An open [bracket\n\nnever closed", "An open [bracket\n\nnever closed"),
        ("half \ud83d", "half "),
    ],
)
def test_the_end_waits_where_it_may_change_its_meaning(text: str, shown: str) -> None:
    assert safe_prefix(text) == shown


@given(st.text())
def test_lengths_are_those_of_javascript(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2
