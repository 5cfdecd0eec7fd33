from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.outline import Block, Kind, _parsed, heading_text, read_sections
from tests.jobs.decisions.documents import anything

# Lines that begin with a letter, and what might be taken for markup behind them.
plain = st.lists(
    st.sampled_from(
        ("", "", "A line", "b | c", "-|-", "d:", "e #", "\u00b2 f", "g\x85h", "i\u2028---", "j\x0c", "    k", " ")
    ),
    max_size=12,
).map("\n".join)

PAGE = """\
# Guide `x`

## Setup

Intro:

- one
  - nested
- two

```sh
# not a heading
make
```

| a | b |
|---|---|
| 1 | 2 |

Usage {#use}
------------

> quoted
"""


def tiles(blocks: Sequence[Block], start: int, end: int) -> bool:
    """The blocks, and the blocks in them, follow one another from start to end."""
    edges = [start, *(block.end for block in blocks)]
    return (
        [block.start for block in blocks] == edges[:-1]
        and edges[-1] == end
        and all(tiles(block.children, block.start, block.end) for block in blocks if block.children)
    )


def kinds(blocks: Sequence[Block]) -> Iterator[Kind]:
    for block in blocks:
        yield block.kind
        yield from kinds(block.children)


@settings(max_examples=40)
@given(anything)
def test_sections_and_their_blocks_are_the_whole_text_in_order(markdown: str) -> None:
    sections = read_sections(markdown)
    assert "".join(markdown[section.start : section.end] for section in sections) == markdown
    for section in sections:
        assert section.start <= section.body_start <= section.end
        assert tiles(section.blocks, section.body_start, section.end) or section.body_start == section.end


def test_headings_make_paths_and_a_heading_without_text_joins_the_section_below() -> None:
    assert [section.heading_path for section in read_sections(PAGE)] == [("Guide x", "Setup"), ("Guide x", "Usage")]


def test_lists_code_and_tables_are_told_apart() -> None:
    setup, usage = read_sections(PAGE)
    assert list(kinds(setup.blocks)) == [
        *(Kind.PROSE, Kind.GROUP),
        *(Kind.ITEM, Kind.PROSE, Kind.GROUP, Kind.ITEM, Kind.PROSE),
        *(Kind.ITEM, Kind.PROSE),
        *(Kind.CODE, Kind.TABLE),
    ]
    assert list(kinds(usage.blocks)) == [Kind.GROUP, Kind.PROSE]
    fence, table = setup.blocks[2:]
    assert PAGE[fence.start : fence.body_start] == "```sh\n"
    assert PAGE[table.start : table.body_start] == "| a | b |\n|---|---|\n"


def test_a_link_definition_belongs_to_the_block_before_it() -> None:
    (section,) = read_sections("Text.\n\n[ref]: http://example.org\n")
    assert [(block.start, block.end) for block in section.blocks] == [(0, 33)]


def test_a_heading_is_read_without_its_marks() -> None:
    assert (
        heading_text("The `arq` **worker** [docs](http://x) <a id='y'></a> snake_case {#anchor}")
        == "The arq worker docs snake_case"
    )


@given(plain | anything)
def test_what_is_read_without_a_parser_is_read_as_by_the_parser(text: str) -> None:
    assert read_sections(text) == _parsed(text)
