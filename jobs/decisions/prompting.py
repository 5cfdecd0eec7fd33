"""The messages of one answer: what never changes first, the question last."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol, Self

from jobs.decisions.compression import Passage
from jobs.decisions.outline import path_text
from jobs.decisions.sentences import sentence_spans
from jobs.errors import Permanent

HISTORY_TOKENS = 800
_LONGEST_TURN = 0.5  # of the history's budget

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt file."""

    name: str
    text: str
    version: str  # the first 12 hex digits of the text's SHA-256

    @classmethod
    def of(cls, name: str, text: str) -> Self:
        return cls(name, text, sha256(text.encode()).hexdigest()[:12])


@dataclass(frozen=True, slots=True)
class Prompt:
    messages: tuple[Message, ...]
    version: str  # of the template
    passage_ids: Mapping[int, int]  # citation number → chunk id


class Exchange(Protocol):
    """A question and its good answer."""

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> str: ...


def build_prompt(
    template: Template,
    question: str,
    passages: Sequence[Passage],
    *,
    history: Sequence[Message] = (),
    examples: Sequence[Exchange] = (),
    count_tokens: Callable[[str], int],
    history_tokens: int = HISTORY_TOKENS,
) -> Prompt:
    """System prompt (byte-identical for all, so that providers cache it), examples, history, passages and question."""
    messages = (
        Message("system", template.text),
        *(message for example in examples for message in _exchange(example)),
        *(Message(turn.role, escape(turn.content)) for turn in compact(history, history_tokens, count_tokens)),
        Message("user", f"{_passages(passages)}\n\n<question>\n{escape(question)}\n</question>"),
    )
    return Prompt(messages, template.version, {n: passage.chunk_id for n, passage in enumerate(passages, 1)})


def read_history(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """A row's `input.history` as messages.

    Raises Permanent for a role other than user and assistant: nobody but the template speaks as the system.
    """
    messages = []
    for turn in turns:
        role, content = turn.get("role"), turn.get("content")
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise Permanent("input.invalid", "history holds turns of {role: user or assistant, content: text}")
        messages.append(Message(role, content))
    return tuple(messages)


def compact(history: Sequence[Message], budget_tokens: int, count_tokens: Callable[[str], int]) -> tuple[Message, ...]:
    """The newest turns that fit the budget. A turn that alone takes more than half of it keeps its first sentences."""
    kept: list[Message] = []
    left = budget_tokens
    for turn in reversed(history):
        if not turn.content.strip():  # a model that said nothing; what was said before counts all the same
            continue
        content = _shortened(turn.content, int(budget_tokens * _LONGEST_TURN), count_tokens)
        left -= count_tokens(content)
        if left < 0 or not content:
            break
        kept.append(Message(turn.role, content))
    return tuple(reversed(kept))


_TAG = re.compile(r"<(?=\s*/?\s*(?:passages?|question)\b)", re.IGNORECASE)
_ENTITY = re.compile(r"&(?=(?:amp|lt|quot);)")
_ESCAPED = re.compile(r"&(amp|lt|quot);")
_PLAIN = {"amp": "&", "lt": "<", "quot": '"'}


def escape(text: str) -> str:
    """The text, unable to open or close a tag of the prompt.

    `<` becomes `&lt;` where such a tag would begin, and `&` becomes `&amp;` where it would be read as one of these
    escapes; everything else stays, so that `a < b && c` costs no extra token. `unescape` gives the text back.
    """
    return _TAG.sub("&lt;", _ENTITY.sub("&amp;", text))


def unescape(text: str) -> str:
    return _ESCAPED.sub(lambda escaped: _PLAIN[escaped[1]], text)


def _attribute(text: str) -> str:
    return escape(" ".join(text.split())).replace('"', "&quot;")


def _passages(passages: Sequence[Passage]) -> str:
    return "\n".join(
        ("<passages>", *(line for n, p in enumerate(passages, 1) for line in _passage(n, p)), "</passages>")
    )


def _passage(number: int, passage: Passage) -> Iterator[str]:
    path = path_text(passage.heading_path)
    yield f'<passage id="{number}" title="{_attribute(passage.title)}" path="{_attribute(path)}">'
    yield escape(passage.text)
    yield "</passage>"


def _exchange(example: Exchange) -> Iterator[Message]:
    yield Message("user", f"<question>\n{escape(example.question)}\n</question>")
    yield Message("assistant", escape(example.answer))


def _shortened(text: str, budget_tokens: int, count_tokens: Callable[[str], int]) -> str:
    """The first sentences within the budget; where not even one fits, its first words."""
    if count_tokens(text) <= budget_tokens:
        return text
    end = 0
    for _, sentence_end in sentence_spans(text):
        if count_tokens(text[:sentence_end].rstrip()) > budget_tokens:
            break
        end = sentence_end
    kept = text[:end].rstrip()
    while not kept and text:
        text = text[: len(text) // 2]
        kept = text.rpartition(" ")[0] if count_tokens(text) <= budget_tokens else ""
    return kept
