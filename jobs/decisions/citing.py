"""Which passages an answer cites."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.decisions.compression import Passage

MAX_CITATIONS = 5

# Code is taken out first: `values[1]` cites nothing. A fence that is not closed runs to the end.
_CODE = re.compile(
    r"""
      ^[ \t]*(?P<fence>`{3,}|~{3,}) .*? (?: ^[ \t]*(?P=fence)[`~]*[ \t]*$ | \Z )
    | (?<!`)(?P<ticks>`{1,3})(?!`) [^\n]{1,500}? (?<!`)(?P=ticks)(?!`)
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_MARKER = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\](?!\()")


@dataclass(frozen=True, slots=True)
class Citation:
    number: int  # as the answer writes it: [1] is the prompt's first passage
    chunk_id: int
    document_id: str
    title: str
    source: str | None
    heading_path: tuple[str, ...]


def cite(answer: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The passages that an answer cites, at most five, in the order of their first mention.

    Markers are `[1]`, `[1, 3]`, `[2][4]`; numbers that name no passage, links and code are passed over.
    """
    numbers = dict.fromkeys(number for number in cited_numbers(answer) if 1 <= number <= len(passages))
    return tuple(_citation(number, passages[number - 1]) for number in list(numbers)[:MAX_CITATIONS])


def cited_numbers(answer: str) -> Iterator[int]:
    """The numbers of its markers, in their order, whether or not there are such passages."""
    for marker in _MARKER.finditer(without_code(answer)):
        yield from (int(number) for number in re.findall(r"\d+", marker[1]))


def without_code(text: str) -> str:
    """The text with a space in place of each piece of code."""
    return _CODE.sub(" ", text)


def _citation(number: int, passage: Passage) -> Citation:
    return Citation(number, passage.chunk_id, passage.document_id, passage.title, passage.source, passage.heading_path)
