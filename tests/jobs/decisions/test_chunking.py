import itertools
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.decisions.chunking import Chunk, chunk, embedding_text
from tests.jobs.decisions.documents import anything, count_words, documents, paragraphs, sentences

sizes = st.sampled_from(((20, 5), (30, 0), (60, 15), (200, 30)))


def cut(markdown: str, max_tokens: int = 40, overlap_tokens: int = 8) -> tuple[Chunk, ...]:
    return chunk(markdown, count_tokens=count_words, max_tokens=max_tokens, overlap_tokens=overlap_tokens)


@settings(max_examples=40)
@given(anything, sizes)
def test_every_character_that_is_not_blank_is_in_a_chunk_once(markdown: str, size: tuple[int, int]) -> None:
    chunks = cut(markdown, *size)
    spans = [(c.start, c.end) for c in chunks]
    assert spans == sorted(spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    outside = "".join(
        markdown[start:end]
        for start, end in zip([0, *(c.end for c in chunks)], [*(c.start for c in chunks), None], strict=True)
    )
    assert not outside.strip()


@settings(max_examples=40)
@given(anything, sizes)
def test_no_chunk_is_blank_or_too_large_and_each_holds_its_own_text(markdown: str, size: tuple[int, int]) -> None:
    for ordinal, c in enumerate(cut(markdown, *size)):
        assert c.ordinal == ordinal
        assert c.tokens == count_words(c.content) <= size[0]
        assert markdown[c.start : c.end].strip()
        assert markdown[c.start : c.end].strip() in c.content


@settings(max_examples=40)
@given(documents, sizes)
def test_what_stands_before_a_chunks_own_text_is_repeated_from_the_chunk_before(
    markdown: str, size: tuple[int, int]
) -> None:
    chunks = cut(markdown, *size)
    for before, c in itertools.pairwise(chunks):
        overlap = c.content[: c.content.index(markdown[c.start : c.end].strip())].strip()
        is_frame = overlap.startswith(("```", "| name"))
        assert is_frame or overlap in before.content
        assert is_frame or count_words(overlap) <= size[1]


@settings(max_examples=30)
@given(documents)
def test_the_same_text_gives_the_same_chunks(markdown: str) -> None:
    assert cut(markdown) == cut(markdown)


@settings(max_examples=15)
@given(st.lists(paragraphs, min_size=40, max_size=60), st.integers(0, 9), sentences)
def test_an_edit_changes_only_the_chunks_nearby(texts: list[str], place: int, sentence: str) -> None:
    texts = [f"{number} {text}" for number, text in enumerate(texts)]  # no two alike
    old = cut("\n\n".join(texts), 60, 15)
    new = cut("\n\n".join((*texts[:place], f"{texts[place]} {sentence}", *texts[place + 1 :])), 60, 15)
    hashes = {c.content_hash for c in old}
    changed = [c for c in new if c.content_hash not in hashes]
    assert 1 <= len(changed) <= 12
    assert all(c.ordinal < 25 for c in changed)


@settings(max_examples=40)
@given(documents)
def test_code_blocks_stay_closed(markdown: str) -> None:
    for c in cut(markdown):
        assert len(re.findall(r"^```", c.content, re.MULTILINE)) % 2 == 0


@given(st.lists(sentences, min_size=1, max_size=20))
def test_a_list_item_that_fits_is_never_split(items: list[str]) -> None:
    assume(all(count_words(f"- {item}") <= 32 for item in items))
    markdown = "\n".join(f"- {item}" for item in items)
    starts = {match.start() for match in re.finditer(r"^- ", markdown, re.MULTILINE)}
    assert all(c.start in starts for c in cut(markdown))


def test_a_long_table_repeats_its_header() -> None:
    rows = "\n".join(f"| key{i} | value{i} |" for i in range(20))
    contents = [c.content for c in cut(f"| name | value |\n|---|---|\n{rows}\n")]
    assert len(contents) > 2
    assert all(content.startswith("| name | value |\n|---|---|\n| key") for content in contents)


def test_a_long_code_block_repeats_its_fences() -> None:
    lines = "\n".join(f"call({i})" for i in range(20))
    contents = [c.content for c in cut(f"```python\n{lines}\n```\n")]
    assert len(contents) > 2
    assert all(content.startswith("```python\ncall(") and content.endswith(")\n```") for content in contents)


def test_chunks_carry_their_headings_and_never_cross_one() -> None:
    chunks = cut("# Redis\n\nA store.\n\n## Lists\n\nPush and pop.\n\n## Sets\n\nNo duplicates.")
    assert [(c.heading_path, c.content) for c in chunks] == [
        (("Redis",), "# Redis\n\nA store."),
        (("Redis", "Lists"), "## Lists\n\nPush and pop."),
        (("Redis", "Sets"), "## Sets\n\nNo duplicates."),
    ]


def test_a_run_without_a_space_is_cut_by_characters() -> None:
    chunks = chunk("x" * 1000, count_tokens=len, max_tokens=100, overlap_tokens=10)
    assert "".join(c.content for c in chunks) == "x" * 1000
    assert max(c.tokens for c in chunks) <= 100


def test_the_hash_covers_all_that_is_embedded() -> None:
    one, other, retitled = (
        chunk(f"# {heading}\n\nText.", count_tokens=count_words, title=title)[0]
        for heading, title in (("A", None), ("B", None), ("A", "Title"))
    )
    assert len({one.content_hash, other.content_hash, retitled.content_hash}) == 3


def test_the_embedded_text_begins_with_where_it_stands() -> None:
    assert embedding_text("Guide", ("Guide", "Setup"), "Text.") == "Guide \u203a Setup\n\nText."
    assert embedding_text(None, (), "Text.") == "Text."


def test_an_overlap_as_large_as_the_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap_tokens"):
        cut("text", 10, 10)
