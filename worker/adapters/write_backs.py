"""What a worker writes to rows, as the JSON that the functions of schema rowcall take. Pure."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from jobs.decisions.streaming import utf16_length
from jobs.ports import Embedding, Opening, Reusable
from worker.ledger import total_usd
from worker.ports import Canceled, Checkpoint, Closing, Ended, Requeued, Unsettleable

Row = dict[str, Any]


def opening(opening: Opening) -> Row:
    model = opening.model
    return {
        "purpose": opening.purpose,
        "provider": model.provider,
        "model": model.model,
        "route": opening.route,
        "reserved_usd": opening.reserved_usd,
    }


def closing(closing: Closing) -> Row:
    return {
        "id": closing.id,
        "status": closing.status,
        "provider": closing.model.provider,
        "model": closing.model.model,
        "route": closing.route,
        "duration_ms": closing.duration_ms,
        "first_token_ms": closing.first_token_ms,
        "tokens_in": closing.tokens_in,
        "tokens_cached": closing.tokens_cached,
        "tokens_out": closing.tokens_out,
        "tokens_reasoning": closing.tokens_reasoning,
        "cost_usd": closing.cost_usd,
        "error_code": closing.error_code,
        "is_estimated": closing.is_estimated,
        "purpose": closing.purpose,
        "reused_id": closing.reused_id,
        "saved_tokens_in": closing.saved_tokens_in,
        "saved_tokens_out": closing.saved_tokens_out,
        "saved_usd": closing.saved_usd,
        "failed_checks": None if closing.failed_checks is None else list(closing.failed_checks),
    }


def checkpoint(checkpoint: Checkpoint) -> Row:
    partial = checkpoint.partial
    return {"id": checkpoint.id, "attempt": checkpoint.attempt, "partial": partial, "offset": utf16_length(partial)}


def requeued(requeued: Requeued) -> Row:
    return {
        "id": requeued.id,
        "attempt": requeued.attempt,
        "wait_s": requeued.wait_s,
        "error": requeued.error,
        "calls": [closing(call) for call in requeued.calls],
    }


def ended(ended: Ended) -> Row:
    """Raises Unsettleable where the job's values are no JSON."""
    finished, calls = ended.finished, ended.calls
    row = {
        "id": ended.id,
        "attempt": ended.attempt,
        "status": ended.status,
        "error": ended.error,
        **spent(calls, ended.first_token_at),
    }
    if finished is not None:
        row |= {
            "answer": finished.answer,
            "output": finished.output,
            "citations": list(finished.citations),
            "route": finished.route,
            "variant": finished.variant,
            "prompt_version": finished.prompt_version,
        }
        why = {"route_reason": finished.route_reason, "prompt_version": finished.prompt_version}
        row["calls"] = [call | why for call in row["calls"]]
        if finished.reusable is not None:
            row["reusable"] = reusable(finished.reusable)
    require_json(row)
    return row


def reusable(reusable: Reusable) -> Row:
    return {
        "scope": reusable.scope,
        "question_key": reusable.key,
        "question": reusable.question,
        "embedding": literal(reusable.embedding),
        "embedding_model": reusable.embedding_model,
        "chunk_ids": list(reusable.chunk_ids),
        "seen_chunk_ids": list(reusable.seen_chunk_ids),
        "had_examples": reusable.had_examples,
        "ttl_s": reusable.ttl_s,
        "stale_s": reusable.stale_s,
    }


def literal(vector: Embedding) -> str:
    """The vector as pgvector reads it, `[0.1,-0.25,…]`: seven digits carry a float32 to its last bit or two."""
    return "[" + ",".join(f"{number:.7g}" for number in vector.tolist()) + "]"


def half(vector: Embedding) -> str:
    """The same for half precision, which has three to four digits."""
    return "[" + ",".join(f"{number:.4g}" for number in vector.tolist()) + "]"


def canceled(canceled: Canceled) -> Row:
    return {
        "id": canceled.id,
        "attempt": canceled.attempt,
        "partial": canceled.partial,
        **spent(canceled.calls, canceled.first_token_at),
    }


def spent(calls: Sequence[Closing], first_token_at: datetime | None) -> Row:
    """The attempt's calls, and their sums."""
    return {
        "first_token_at": None if first_token_at is None else first_token_at.isoformat(),
        "tokens_in": known_sum(call.tokens_in for call in calls),
        "tokens_cached": known_sum(call.tokens_cached for call in calls),
        "tokens_out": known_sum(call.tokens_out for call in calls),
        "cost_usd": total_usd(calls),
        "calls": [closing(call) for call in calls],
    }


def require_json(row: Row) -> None:
    try:
        json.dumps(row, allow_nan=False)
    except (ValueError, TypeError) as error:  # NaN; a value of another type
        raise Unsettleable(f"the job's values are no JSON ({type(error).__name__})") from error


def known_sum(numbers: Iterable[int | None]) -> int | None:
    """The sum of those that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


# Problems of these classes name tables, columns and constraints; the texts of others may quote a row.
NAMING = ("23", "42")


def described(problem: str) -> str:
    """What may be told of `message (SQLSTATE)`."""
    found = re.search(r"\(([0-9A-Z]{5})\)$", problem)
    state = found[1] if found else "unknown"
    return problem if state.startswith(NAMING) else f"the database refused the row ({state})"
