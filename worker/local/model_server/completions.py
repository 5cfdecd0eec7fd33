"""The completion of a chat, decided before its first token is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.local.model_server import tokens
from worker.local.model_server.answering import answer
from worker.local.model_server.faults import ContentFilter, Empty, Fault, Length, Refusal, Says
from worker.local.model_server.passages import Message, read_inquiry
from worker.local.model_server.protocol import FinishReason
from worker.local.model_server.summarizing import summarize


@dataclass(frozen=True, slots=True)
class Completion:
    """`field` is where the tokens go in OpenAI's message."""

    tokens: tuple[str, ...]
    finish_reason: FinishReason
    field: str = "content"


def complete(messages: Sequence[Message], limit: int | None) -> Completion:
    """An answer from the passages of the last user message, or where it has none a summary of it.

    Of no more than `limit` tokens.
    """
    inquiry = read_inquiry(messages)
    text = answer(inquiry) if inquiry else summarize(_last_user_text(messages))
    written = tuple(tokens.split(text))
    if limit is not None and len(written) > limit:
        return Completion(written[:limit], "length")
    return Completion(written, "stop")


def spoil(completion: Completion, fault: Fault | None) -> Completion:
    """The completion that a fault leaves, for faults that concern its text."""
    match fault:
        case Empty():
            return replace(completion, tokens=(), finish_reason="stop")
        case Length(after_tokens=kept):
            return replace(completion, tokens=completion.tokens[:kept], finish_reason="length")
        case ContentFilter(after_tokens=kept):
            return replace(completion, tokens=completion.tokens[:kept], finish_reason="content_filter")
        case Refusal(text=text):
            return Completion(tuple(tokens.split(text)), "stop", field="refusal")
        case Says(text=text):
            return Completion(tuple(tokens.split(text)), "stop")
        case _:
            return completion


def _last_user_text(messages: Sequence[Message]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user"), "")
