"""What a provider's errors mean for a job. Nothing of a provider's reply but its error code gets into ours: replies may
quote the prompt or the key.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time

import openai

from jobs.errors import JobError, Permanent, Refused, Retryable
from jobs.ports import ModelName

LONGEST_WAIT_S = 300.0
REFUSAL = "The model declined to answer this."

_PERMANENT = {
    401: "model.unauthorized",
    403: "model.forbidden",
    404: "model.not_found",
    413: "model.context_too_long",
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_CONTEXT = re.compile(
    r"context.?(length|window|size)|maximum (context|prompt)|prompt is too long"
    r"|too many tokens|number of tokens allowed",
    re.IGNORECASE,
)
_FILTERED = {"content_filter", "content_policy_violation"}
_DURATION = re.compile(r"([0-9.]+)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@contextmanager
def provider_errors_translated(model: ModelName, *, is_answering: bool = False) -> Iterator[None]:
    """Raises Retryable, Permanent or Refused in place of what a call of the SDK raises.

    `from None`, because the SDK's errors carry the reply. `is_answering`: a lost connection cuts an answer short.
    """
    try:
        yield
    except TimeoutError:
        raise Retryable("model.timeout", f"{_name(model)} took too long") from None
    except openai.OpenAIError as error:
        raise translated(error, model, is_answering=is_answering) from None
    except ValueError:  # JSON that is none, or an answer without its main part
        raise Retryable("model.unreadable", f"{_name(model)} sent something that cannot be read") from None


def translated(error: openai.OpenAIError, model: ModelName, *, is_answering: bool) -> JobError:
    match error:
        case openai.APITimeoutError():
            return Retryable("model.timeout", f"{_name(model)} took too long")
        case openai.APIConnectionError() if is_answering:
            return cut(model)
        case openai.APIConnectionError():
            return Retryable("model.unavailable", f"{_name(model)} cannot be reached")
        case openai.APIStatusError():
            return _of_status(error, model)
        case openai.APIError():  # an error event inside a stream, or an answer that is not what was asked for
            message = f"{_name(model)} broke off{_details(error)}"
            return _of_request(error, message) or Retryable("model.unavailable", message)
        case _:
            return Retryable("model.unavailable", f"{_name(model)} failed: {type(error).__name__}")


def cut(model: ModelName) -> Retryable:
    return Retryable("model.stream_cut", f"the stream of {_name(model)} ended before it was complete")


def declined() -> Refused:
    return Refused("model.refused", REFUSAL)


def _of_status(error: openai.APIStatusError, model: ModelName) -> JobError:
    status = error.status_code
    message = f"{_name(model)} answered HTTP {status}{_details(error)}"
    wait_s = wait_asked_for_s(error.response.headers, now_s=time(), is_limit=status == HTTPStatus.TOO_MANY_REQUESTS)
    if status == HTTPStatus.PAYMENT_REQUIRED or error.code == "insufficient_quota":
        return Retryable("model.quota_exhausted", message, wait_s=wait_s)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Retryable("model.rate_limited", message, wait_s=wait_s)
    if status >= 500 or status in {408, 409, 425}:
        return Retryable("model.unavailable", message, wait_s=wait_s)
    return _of_request(error, message) or Permanent(_PERMANENT.get(status, "model.rejected"), message)


def _of_request(error: openai.APIError, message: str) -> JobError | None:
    """What is wrong with the prompt itself, if it is that. Other servers than OpenAI's say so in words alone."""
    if error.code == "context_length_exceeded" or _CONTEXT.search(error.message):
        return Permanent("model.context_too_long", message)
    if error.code in _FILTERED:
        return declined()
    return None


def _details(error: openai.APIError) -> str:
    """The code and the parameter, where they are identifiers and no prose."""
    known = [str(value) for value in (error.code, error.param) if value and _IDENTIFIER.fullmatch(str(value))]
    return f" ({', '.join(known)})" if known else ""


def _name(model: ModelName) -> str:
    return f"{model.provider}/{model.model}"


def wait_asked_for_s(headers: Mapping[str, str], *, now_s: float, is_limit: bool) -> float | None:
    """Seconds to wait as a response asks for, at most 5 minutes; None: it does not say.

    `retry-after-ms`, `retry-after` (seconds or a date: RFC 9110, 10.2.3), else, where a limit was met, the later of the
    moments at which `x-ratelimit-reset…` says that one is full again, in seconds, as a Unix time, or as in "6m0s":
    other responses carry these as well, and have nothing to wait for.
    """
    asked = [
        _scaled(headers.get("retry-after-ms", ""), 0.001),
        _scaled(headers.get("retry-after", ""), 1.0),
        _until_date(headers.get("retry-after", ""), now_s),
    ]
    resets = [
        _until_reset(headers.get(f"x-ratelimit-reset{suffix}", ""), now_s) for suffix in ("", "-requests", "-tokens")
    ]
    waits_s = [wait for wait in asked if wait is not None][:1]
    waits_s = waits_s or [wait for wait in resets if wait is not None and is_limit]
    return min(LONGEST_WAIT_S, max(0.0, *waits_s)) if waits_s else None


def _scaled(value: str, unit_s: float) -> float | None:
    try:
        seconds = float(value) * unit_s
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def _until_date(value: str, now_s: float) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError, OSError):
        return None


def _until_reset(value: str, now_s: float) -> float | None:
    number = _scaled(value, 1.0)
    if number is None:
        parts = _DURATION.findall(value)
        waits = [_scaled(amount, _UNITS_S[unit]) for amount, unit in parts]
        return sum(w for w in waits if w is not None) if parts and None not in waits else None
    for unit_s in (0.001, 1.0):  # a moment: in milliseconds (OpenRouter), in seconds
        if number * unit_s > 1e9:
            return number * unit_s - now_s
    return number
