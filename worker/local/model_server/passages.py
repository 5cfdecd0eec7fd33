"""What a prompt asks: its passages, its question, and what was said before.

The format is the one of `jobs/decisions/prompting.py`: passages numbered from 1, best first; `<`, `>` and `&` are
escaped, so that no content can close a tag.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_PASSAGES = re.compile(r"^<passages>$(.*?)^</passages>$", re.DOTALL | re.MULTILINE)
_PASSAGE = re.compile(
    r'^<passage id="(?P<id>[1-9]\d*)"(?: title="(?P<title>[^"]*)")?(?: path="(?P<path>[^"]*)")?>\n'
    r"(?P<text>.*?)^</passage>$",
    re.DOTALL | re.MULTILINE,
)
_QUESTION = re.compile(r"^<question>$(.*?)^</question>$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "developer", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    id: int
    title: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question to be answered from passages, best first. `earlier` is the user's previous question, or empty."""

    question: str
    passages: tuple[Passage, ...]
    earlier: str


def read_inquiry(messages: Sequence[Message]) -> Inquiry | None:
    """What the last user message asks of its passages; None where it holds none."""
    texts = [message.text for message in messages if message.role == "user"]
    if not texts or (block := _PASSAGES.search(texts[-1])) is None:
        return None
    asked = _QUESTION.search(texts[-1], block.end())
    question = html.unescape(asked[1]) if asked else texts[-1][block.end() :]
    return Inquiry(
        question=question.strip(),
        passages=tuple(_passage(found) for found in _PASSAGE.finditer(block[1])),
        earlier=_question_of(texts[-2]) if len(texts) > 1 else "",
    )


def _question_of(text: str) -> str:
    """A former turn's question: history carries it bare, but a client may send whole prompts back."""
    asked = _QUESTION.search(text)
    return html.unescape(asked[1]).strip() if asked else text


def _passage(found: re.Match[str]) -> Passage:
    title, path, text = (html.unescape(found[name] or "") for name in ("title", "path", "text"))
    return Passage(id=int(found["id"]), title=title, path=path, text=text.strip("\n"))
