"""The events of a streamed chat completion, read from their JSON.

Source: OpenAI's API reference, "The chat completion chunk object" (November 2026). Other providers leave fields out or
set them to null.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.ports import Usage


@dataclass(frozen=True, slots=True)
class Chunk:
    """An event's first choice, and what stands beside the choices."""

    text: str = ""
    finish: str | None = None
    is_refusal: bool = False
    usage: Usage | None = None
    model: str | None = None


def chunk_of(data: Any) -> Chunk:
    """Raises ValueError where it is no chunk; the message describes it without quoting it."""
    try:
        usage, choices = data.get("usage"), data.get("choices")
        choice = choices[0] if choices else {}
        delta = choice.get("delta") or {}
        text = delta.get("content") or ""
        finish, is_refusal = choice.get("finish_reason"), bool(delta.get("refusal"))
        chunk = Chunk(text, finish, is_refusal, usage_of(usage) if usage else None, data.get("model"))
    except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"no chat completion chunk: {type(error).__name__}") from None
    if not isinstance(text, str):
        raise ValueError(f"no chat completion chunk: its content is a {type(text).__name__}")  # noqa: TRY004 - as above
    return chunk


def usage_of(usage: Mapping[str, Any]) -> Usage:
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        tokens_in=int(usage["prompt_tokens"]),
        tokens_out=int(usage["completion_tokens"]),
        tokens_cached=int((prompt or {}).get("cached_tokens") or 0),
        tokens_reasoning=int((completion or {}).get("reasoning_tokens") or 0),
    )
