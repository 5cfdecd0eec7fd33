"""Markdown documents for property tests: real structure, odd text."""

import re

from hypothesis import strategies as st

WORDS = (
    "queue",
    "Redis",
    "row",
    "lease",
    "a",
    "snake_case",
    "naïve",
    "数据库",
    "e.g.",
    "3.14",
    "`code`",
    "[link](x)",
    "🙂",
)

words = st.sampled_from(WORDS)
sentences = st.lists(words, min_size=1, max_size=12).map(lambda chosen: " ".join(chosen).capitalize() + ".")
paragraphs = st.lists(sentences, min_size=1, max_size=6).map(" ".join)
headings = st.builds(
    "{} {}".format, st.sampled_from(("#", "##", "###")), st.lists(words, min_size=1, max_size=3).map(" ".join)
)
lists = st.lists(sentences, min_size=1, max_size=6).map(lambda items: "\n".join(f"- {item}" for item in items))
code = st.lists(st.sampled_from(("x = 1", "", "    return y", "# no heading", "- no item")), max_size=25).map(
    lambda lines: "\n".join(("```python", *lines, "```"))
)
tables = st.lists(words, min_size=1, max_size=20).map(
    lambda cells: "\n".join(("| name | value |", "|---|---|", *(f"| {cell} | {i} |" for i, cell in enumerate(cells))))
)
blocks = st.one_of(paragraphs, headings, lists, code, tables)
documents = st.lists(blocks, max_size=12).map("\n\n".join)
noise = st.text(alphabet=st.sampled_from("ab .#-`|>\n*[]()~1\t\r!<"), max_size=300)
anything = st.one_of(documents, noise, st.text(max_size=200))


def count_words(text: str) -> int:
    """A stand-in for the tokenizer: words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))
