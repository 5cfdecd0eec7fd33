"""What a Markdown text is made of: sections under headings, and the blocks in them, by character offsets."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

# Only the structure of blocks is read; the inline rules would cost as much again.
_PARSER = MarkdownIt("commonmark").enable("table").disable("inline")
_NEWLINE = re.compile(r"\r\n?|\n")  # markdown-it's own idea of a line
# Lines that are empty or begin with a letter open no block but paragraphs. Reading those needs no parser, which would
# take a tenth of the time of compressing prose.
_PLAIN = re.compile(r"(?:(?:[^\W\d_][^\r\n]*+)?\n)*+(?:[^\W\d_][^\r\n]*+)?")
_PARAGRAPH = re.compile(r"(?:[^\n]++\n?+)++")

# Heading text without its marks: images and links to their text, code, emphasis, HTML tags, a trailing {#anchor}.
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_MARKS = re.compile(r"</?[A-Za-z][^<>]*>|\*\*|__|[*`]|(?<!\w)_|_(?!\w)|\s*\{[#.][^{}]*\}\s*$")


class Kind(Enum):
    PROSE = auto()
    ITEM = auto()  # of a list; its children are the blocks inside it
    GROUP = auto()  # a list, or a quotation: nothing but its children
    CODE = auto()
    TABLE = auto()


@dataclass(frozen=True, slots=True)
class Block:
    """Blocks lie one after another without gaps: a block ends where the next one starts, blank lines included."""

    kind: Kind
    start: int
    end: int
    children: tuple["Block", ...] = ()
    body_start: int = 0  # CODE, TABLE: where the first line after the opening fence or the header row starts


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it. A heading with nothing of its own belongs to the section that follows it."""

    heading_path: tuple[str, ...]
    start: int
    body_start: int  # after its heading, or headings
    end: int
    blocks: tuple[Block, ...]  # from body_start to end


@dataclass(slots=True)
class _Open:
    """A section that is still being read."""

    start_line: int
    body_line: int
    path: tuple[str, ...]
    nodes: list[SyntaxTreeNode] = field(default_factory=list)


def read_sections(markdown: str) -> tuple[Section, ...]:
    """The sections of a text: together they are the whole text, in order."""
    paragraphs = [found.start() for found in _PARAGRAPH.finditer(markdown)]
    return _plain(markdown, paragraphs) if paragraphs and _PLAIN.fullmatch(markdown) else _parsed(markdown)


def _plain(text: str, paragraphs: Sequence[int]) -> tuple[Section, ...]:
    """The one section of a text of paragraphs alone, which begin at these places."""
    edges = [0, *paragraphs[1:], len(text)]
    blocks = tuple(Block(Kind.PROSE, start, end) for start, end in pairwise(edges))
    return (Section((), 0, 0, len(text), blocks),)


def _parsed(markdown: str) -> tuple[Section, ...]:
    starts = [0, *(match.end() for match in _NEWLINE.finditer(markdown)), len(markdown)]
    sections = []
    for opened, end_line in _grouped(SyntaxTreeNode(_PARSER.parse(markdown)).children, len(starts) - 1):
        end = starts[end_line]
        body_start = starts[min(opened.body_line, end_line)]
        blocks = tuple(_tiled(opened.nodes, starts, body_start, end)) if opened.nodes or body_start < end else ()
        sections.append(Section(opened.path, starts[opened.start_line], body_start, end, blocks))
    return tuple(sections)


def path_text(names: Iterable[str]) -> str:
    """Where something stands, on one line: `Installation, Windows` with an angle between."""
    return " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} ".join(names)


def heading_text(raw: str) -> str:
    """A heading's words, without marks, links and anchors."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", raw)).split())


def _grouped(nodes: Sequence[SyntaxTreeNode], lines: int) -> Iterator[tuple[_Open, int]]:
    """Sections, each with the line on which the next one starts."""
    levels: list[tuple[int, str]] = []
    current = _Open(0, 0, ())
    for node in nodes:
        if node.type != "heading":
            current.nodes.append(node)
            continue
        first, after = node.map or (0, 0)
        level = int(node.tag[1])
        levels = [*(entry for entry in levels if entry[0] < level), (level, heading_text(node.children[0].content))]
        path = tuple(text for _, text in levels if text)
        if current.nodes:
            yield current, first
            current = _Open(first, after, path)
        else:
            current = _Open(current.start_line, after, path)
    yield current, lines


def _tiled(nodes: Sequence[SyntaxTreeNode], starts: Sequence[int], start: int, end: int) -> Iterator[Block]:
    """Blocks from start to end. What has no node of its own (a link definition) falls to the block before it."""
    edges = [start, *(starts[_first_line(node)] for node in nodes[1:]), end]
    if not nodes:
        yield Block(Kind.PROSE, start, end)
    for node, block_start, block_end in zip(nodes, edges[:-1], edges[1:], strict=False):
        yield _block(node, starts, block_start, block_end)


def _block(node: SyntaxTreeNode, starts: Sequence[int], start: int, end: int) -> Block:
    match node.type:
        case "bullet_list" | "ordered_list" | "blockquote":
            return Block(Kind.GROUP, start, end, tuple(_tiled(node.children, starts, start, end)))
        case "list_item":
            return Block(Kind.ITEM, start, end, tuple(_tiled(node.children, starts, start, end)))
        case "fence":
            return Block(Kind.CODE, start, end, body_start=min(starts[_first_line(node) + 1], end))
        case "code_block":
            return Block(Kind.CODE, start, end, body_start=start)
        case "table":
            return Block(Kind.TABLE, start, end, body_start=min(starts[_first_line(node) + 2], end))
        case _:
            return Block(Kind.PROSE, start, end)


def _first_line(node: SyntaxTreeNode) -> int:
    return node.map[0] if node.map else 0
