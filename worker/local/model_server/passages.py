"""What a prompt asks: its passages, its question, and what was said before.

The format is that of `jobs/decisions/prompting.py`: passages numbered from 1, best first; texts are escaped, so that
none can open or close a tag. Worked examples come before the conversation, as earlier turns whose question is tagged.
"""

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
_ESCAPED = re.compile(r"&(amp|lt|quot);")
_PLAIN = {"amp": "&", "lt": "<", "quot": '"'}
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
    question = _unescape(asked[1]) if asked else texts[-1][block.end() :]
    return Inquiry(
        question=question.strip(),
        passages=tuple(_passage(found) for found in _PASSAGE.finditer(block[1])),
        earlier=_earlier_question(texts[:-1]),
    )


def _earlier_question(texts: Sequence[str]) -> str:
    """The user's last turn that is not an example."""
    return next((_unescape(text) for text in reversed(texts) if not _QUESTION.search(text)), "")


def _passage(found: re.Match[str]) -> Passage:
    title, path, text = (_unescape(found[name] or "") for name in ("title", "path", "text"))
    return Passage(id=int(found["id"]), title=title, path=path, text=text.strip("\n"))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda escaped: _PLAIN[escaped[1]], text)
