import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode
from prometheus_client import generate_latest

from jobs.decisions.checking import Check
from jobs.errors import Retryable
from jobs.ports import ModelName, Usage
from worker.ports import Closing
from worker.telemetry import Metrics, model_span

MODEL = ModelName("openai", "gpt-6-luna")

# Logs: configured in a process of their own, for structlog's configuration is the process's.

SCRIPT = """
import logging, sys, warnings
import structlog
from worker.telemetry import configure_logging

def fail(prompt):
    raise ZeroDivisionError("by zero")

configure_logging(sys.argv[1])
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(kind="answer", id="7"):
    log.info("attempt.finished", outcome="succeeded", answer_ms=3)
log.debug("claim.declined")
logging.getLogger("httpx").info("GET /")
logging.getLogger("uvicorn.error").error("it broke")
warnings.warn("old")
try:
    fail("THE PROMPT")
except ZeroDivisionError as error:
    log.error("attempt.finished", exc_info=error)
"""


def logged(log_format: str) -> str:
    command = [sys.executable, "-W", "always", "-c", SCRIPT, log_format]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_in_production_each_line_is_a_json_object(log_format: str) -> None:
    lines = [json.loads(line) for line in logged(log_format).splitlines()]
    finished, library, warning, failed = lines
    assert finished.pop("timestamp").endswith("Z")
    assert finished == {
        "event": "attempt.finished",
        "level": "info",
        "kind": "answer",
        "id": "7",
        "outcome": "succeeded",
        "answer_ms": 3,
    }
    assert (library["event"], library["logger"], library["level"]) == ("it broke", "uvicorn.error", "error")
    assert warning["logger"] == "py.warnings"
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_traceback_shows_what_a_variable_holds(log_format: str) -> None:
    output = logged(log_format)
    assert "ZeroDivisionError" in output
    assert "fail" in output
    assert "THE PROMPT" not in output.replace('fail("THE PROMPT")', "")


def test_on_a_terminal_a_line_is_for_people() -> None:
    assert "attempt.finished" in logged("console").splitlines()[0]


# Metrics


def closing(*, status: Any = "succeeded", tokens_in: int | None = 100, cost_usd: float | None = 0.5) -> Closing:
    return Closing("c", status, MODEL, "default", 2_000, 300, tokens_in, 40, 20, 5, cost_usd)


def test_an_attempt_counts_itself_its_calls_their_tokens_and_their_cost() -> None:
    metrics = Metrics()
    for first_text_s in (0.4, None):
        metrics.attempt_ended(
            kind="answer", outcome="succeeded", duration_s=2.0, first_text_s=first_text_s, calls=[closing(), closing()]
        )
    shown = generate_latest(metrics.registry).decode()
    for line in (
        'rowcall_attempts_total{kind="answer",outcome="succeeded"} 2.0',
        'rowcall_attempt_seconds_sum{kind="answer",outcome="succeeded"} 4.0',
        'rowcall_first_text_seconds_count{kind="answer"} 1.0',
        'rowcall_model_calls_total{model="gpt-6-luna",provider="openai",status="succeeded"} 4.0',
        'rowcall_model_first_token_seconds_sum{model="gpt-6-luna",provider="openai"} 1.2',
        'rowcall_model_tokens_total{direction="in",model="gpt-6-luna",provider="openai"} 400.0',
        'rowcall_model_tokens_total{direction="cached",model="gpt-6-luna",provider="openai"} 160.0',
        'rowcall_model_cost_usd_total{model="gpt-6-luna",provider="openai"} 2.0',
    ):
        assert line in shown


def test_what_a_cascade_checked_is_counted_and_each_check_that_failed() -> None:
    metrics = Metrics()
    checked: list[tuple[Check, ...] | None] = [None, (), (), ("ending", "arithmetic"), ("arithmetic",)]
    calls = [replace(closing(), failed_checks=failed) for failed in checked]
    metrics.attempt_ended(kind="answer", outcome="succeeded", duration_s=1.0, first_text_s=None, calls=calls)
    shown = generate_latest(metrics.registry).decode()
    for line in (
        'rowcall_answers_checked_total{outcome="passed",route="default"} 2.0',
        'rowcall_answers_checked_total{outcome="failed",route="default"} 2.0',
        'rowcall_checks_failed_total{check="ending",route="default"} 1.0',
        'rowcall_checks_failed_total{check="arithmetic",route="default"} 2.0',
    ):
        assert line in shown


def test_a_call_of_unknown_cost_and_tokens_counts_as_a_call() -> None:
    metrics = Metrics()
    call = closing(status="failed", tokens_in=None, cost_usd=None)
    metrics.attempt_ended(kind="answer", outcome="failed", duration_s=1.0, first_text_s=None, calls=[call])
    shown = generate_latest(metrics.registry).decode()
    assert 'rowcall_model_calls_total{model="gpt-6-luna",provider="openai",status="failed"} 1.0' in shown
    assert 'rowcall_model_cost_usd_total{model="gpt-6-luna",provider="openai"} 0.0' in shown


def test_two_machines_in_one_process_do_not_share_their_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.webhook_refused("webhook.malformed")
    assert "webhook.malformed" not in generate_latest(other.registry).decode()


# Spans


class Recorded(trace.NonRecordingSpan):
    """A span that keeps what is set on it."""

    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.name = name
        self.attributes = dict(attributes)
        self.status: Any = None
        self.ended = 0

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:  # noqa: ARG002 - the API's
        self.status = status

    def end(self, end_time: int | None = None) -> None:  # noqa: ARG002 - the API's
        self.ended += 1


class RecordingTracer(trace.NoOpTracer):
    def __init__(self, spans: list[Recorded]) -> None:
        self.spans = spans

    def start_span(self, name: str, *_: Any, attributes: Any = None, **__: Any) -> Span:
        self.spans.append(Recorded(name, attributes))
        return self.spans[-1]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    recorded: list[Recorded] = []
    monkeypatch.setattr(trace, "get_tracer", lambda _name: RecordingTracer(recorded))
    return recorded


def test_a_model_call_is_a_span_with_the_conventions_names(spans: list[Recorded]) -> None:
    with model_span("chat", MODEL) as span:
        span.first_chunk(0.25)
        span.answered_by("gpt-6-luna-2026-10-01")
        span.used(Usage(100, 20, tokens_cached=40))
    [recorded] = spans
    assert (recorded.name, recorded.ended, recorded.status) == ("chat gpt-6-luna", 1, None)
    assert recorded.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.response.model": "gpt-6-luna-2026-10-01",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
    }


@pytest.mark.parametrize(
    ("error", "shown"), [(Retryable("model.timeout", "slow"), "model.timeout"), (KeyError("x"), "KeyError")]
)
def test_a_call_that_fails_ends_its_span_with_the_codes_name(
    spans: list[Recorded], error: Exception, shown: str
) -> None:
    with pytest.raises(type(error)), model_span("embeddings", MODEL):
        raise error
    [recorded] = spans
    assert (recorded.attributes["error.type"], recorded.status, recorded.ended) == (shown, StatusCode.ERROR, 1)


def test_the_span_is_not_the_callers_current_one(spans: list[Recorded]) -> None:
    with model_span("chat", MODEL):
        assert trace.get_current_span() is not spans[0]
