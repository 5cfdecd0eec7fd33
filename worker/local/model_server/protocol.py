"""OpenAI's wire format, as far as the local model speaks it: bodies of requests, and bodies of answers as plain data.

Reference: the types of the `openai` package 3.54 and https://platform.openai.com/docs/api-reference (November 2026).
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.local.model_server.passages import Message

OWNER = "rowcall"
MOST_INPUTS = 2048

FinishReason = Literal["stop", "length", "content_filter"]

# They would change the answer, and cannot be done. Temperature and the like are accepted: there is nothing to sample.
_UNSUPPORTED = ("tools", "functions", "response_format", "audio", "logprobs", "stop", "prediction")


_ERRORS: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "service_unavailable"),
}


class ApiError(Exception):
    """An error as the client shall see it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}
        self.headers = headers or {}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class TextPart(_Body):
    type: Literal["text"]
    text: str


class ChatMessage(_Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...] | None = None

    def plain(self) -> Message:
        if isinstance(self.content, tuple):
            return Message(self.role, "\n".join(part.text for part in self.content))
        return Message(self.role, self.content or "")


class StreamOptions(_Body):
    include_usage: bool = False


class ChatBody(_Body):
    model: str = Field(min_length=1)
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] = 1

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class EmbeddingsBody(_Body):
    model: str = Field(min_length=1)
    input: str | tuple[str, ...] = Field(min_length=1)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input


B = TypeVar("B", bound=_Body)


def read_chat(body: bytes) -> ChatBody:
    """Raises `ApiError` for what the local model cannot do, naming the parameter."""
    raw = _read_object(body)
    for name in _UNSUPPORTED:
        if raw.get(name) and raw[name] != {"type": "text"}:
            message = f"The local model does not support '{name}'."
            raise ApiError(400, message, param=name, code="unsupported_parameter")
    return _checked(ChatBody, {name: value for name, value in raw.items() if value is not None})


def read_embeddings(body: bytes) -> EmbeddingsBody:
    checked = _checked(EmbeddingsBody, _read_object(body))
    if not all(checked.texts):
        raise ApiError(400, "An input must not be empty.", param="input")
    if len(checked.texts) > MOST_INPUTS:
        raise ApiError(400, f"More than {MOST_INPUTS} inputs in one request.", param="input")
    return checked


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise ApiError(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(raw, dict):
        raise ApiError(400, "The body of a request is a JSON object.")
    return raw


def _checked(kind: type[B], raw: Mapping[str, Any]) -> B:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(step) for step in first["loc"])
        raise ApiError(400, f"Invalid value for '{param}': {first['msg']}.", param=param) from error


def injected_error(status: int, retry_after_s: float | None, code: str | None) -> ApiError:
    """The error that OpenAI sends with a status; a code of its own says more (a 429 may mean an empty account)."""
    kind, usual_code = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    headers = {}
    if retry_after_s is not None:
        headers = {"retry-after": str(math.ceil(retry_after_s)), "retry-after-ms": str(round(retry_after_s * 1000))}
    return ApiError(status, f"Injected: status {status}.", type=kind, code=code or usual_code, headers=headers)


def model_list(names: Sequence[str]) -> dict[str, Any]:
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def model_not_found(name: str) -> ApiError:
    message = f"The model '{name}' does not exist or you do not have access to it."
    return ApiError(404, message, param="model", code="model_not_found")


def usage(prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_completion(
    head: Mapping[str, Any], message: Mapping[str, Any], finish_reason: FinishReason, used: Mapping[str, Any]
) -> dict[str, Any]:
    """`head` is what all parts of one completion share: id, created, model."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": used}


def chat_chunk(
    head: Mapping[str, Any], delta: Mapping[str, Any], finish_reason: FinishReason | None = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def usage_chunk(head: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    return {**head, "object": "chat.completion.chunk", "choices": [], "usage": used}


def embeddings(name: str, vectors: Sequence[str | Sequence[float]], prompt_tokens: int) -> dict[str, Any]:
    """`vectors` are lists of numbers, or little-endian float32 in base64."""
    rows = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {
        "object": "list",
        "data": rows,
        "model": name,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }
