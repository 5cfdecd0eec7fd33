"""The events of a streamed chat completion, read from their JSON.

Source: OpenAI's API reference, "The chat completion chunk object" (November 2026). Other providers leave fields out or
set them to null.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.ports import Usage

MOST_TOKENS = 10**9  # Postgres' integer holds the sum of two


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
        counted = usage_of(usage) if isinstance(usage, Mapping) else None
        chunk = Chunk(text, str(finish) if finish else None, is_refusal, counted, data.get("model"))
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"no chat completion chunk: {type(error).__name__}") from None
    if not isinstance(text, str):
        raise ValueError(f"no chat completion chunk: its content is a {type(text).__name__}")  # noqa: TRY004 - as above
    return chunk


def usage_of(usage: Mapping[str, Any]) -> Usage | None:
    """None where it does not say how many tokens were read and written: no answer is thrown away for that.

    Not every provider counts as OpenAI does. Where more tokens are cached than read, the cached ones are not among
    them. What `total_tokens` has beyond both counts was written too: xAI and Gemini leave reasoning out of
    `completion_tokens`, and bill it as output ("Reasoning for Grok Models", docs.cloud.google.com, November 2026).
    """
    tokens_in, written = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
    if tokens_in is None or written is None:
        return None
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    tokens_in += cached if cached > tokens_in else 0
    total = count_of(usage.get("total_tokens")) or 0
    return Usage(
        tokens_in=tokens_in,
        tokens_out=max(written, total - tokens_in),
        tokens_cached=cached,
        tokens_reasoning=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    return (count_of(details.get(name)) or 0) if isinstance(details, Mapping) else 0


def count_of(value: Any) -> int | None:
    """None for what is no number of tokens, or none that the ledger can hold."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MOST_TOKENS else None
