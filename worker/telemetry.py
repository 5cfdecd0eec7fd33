"""What the machine says of itself: logs, metrics, spans."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Literal, TextIO, assert_never

import structlog
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from jobs.errors import JobError
from jobs.ports import ModelName, Usage
from worker.ports import Backlog, Closing

# Logs

LogFormat = Literal["json", "console", "auto"]


def configure_logging(log_format: LogFormat, *, output: TextIO = sys.stdout) -> None:
    """Every log of this process goes to `output`, one event a line; `auto` is console on a terminal, JSON elsewhere.

    Libraries are heard from warnings on. Tracebacks show no local variables: they hold prompts and answers.
    """
    renderers = _renderers(log_format, is_terminal=output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=output),
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _renderers(log_format: LogFormat, *, is_terminal: bool) -> Sequence[Processor]:
    match log_format:
        case "auto":
            return _renderers("console" if is_terminal else "json", is_terminal=is_terminal)
        case "console":
            plain = structlog.dev.plain_traceback
            return [structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=plain)]
        case "json":
            without_locals = ExceptionDictTransformer(show_locals=False)
            return [structlog.processors.ExceptionRenderer(without_locals), structlog.processors.JSONRenderer()]
        case _:
            assert_never(log_format)


# Metrics

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

EnqueuedBy = Literal["webhook", "sweeper", "executor"]
SweepOutcome = Literal["done", "not_our_turn", "failed"]


class Metrics:
    """The process's metrics. One method for each thing that happens; `registry` is what `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._attempts = self._counter("attempts", "Attempts that ended", "kind", "outcome")
        self._attempt_s = self._histogram("attempt_seconds", "Claim to write-back", "kind", "outcome")
        self._first_text_s = self._histogram("first_text_seconds", "Claim to the first text", "kind")
        self._calls = self._counter("model_calls", "Model calls that ended", "provider", "model", "status")
        self._call_s = self._histogram("model_call_seconds", "Duration of model calls", "provider", "model")
        self._first_token_s = self._histogram("model_first_token_seconds", "Call to first token", "provider", "model")
        self._tokens = self._counter("model_tokens", "Tokens as providers count them", "provider", "model", "direction")
        self._cost = self._counter("model_cost_usd", "Cost of calls whose price is known", "provider", "model")
        self._checked = self._counter("answers_checked", "Answers of cascades that were checked", "route", "outcome")
        self._failed_checks = self._counter("checks_failed", "Why cascades escalated", "route", "check")
        self._enqueued = self._counter("hints_enqueued", "Hints that were new to the queue", "by")
        self._sweeps = self._counter("sweeps", "Looks for rows that should run", "outcome")
        self._waited_in = cache(self._histogram("hint_wait_seconds", "Due to given out to a worker", "lane").labels)
        self._leases_lost = self._counter("queue_leases_lost", "Jobs that Redis gave out while they ran, or forgot")
        self._waiting = self._gauge("queue_waiting", "Hints that are ready, in the fleet", "lane")
        self._oldest_s = self._gauge("queue_oldest_seconds", "Since when the oldest of them has been ready", "lane")
        self._running = self._gauge("queue_running", "Hints that run, in the fleet", "lane")
        self._work_s = self._gauge("queue_work_seconds", "Work that waits: hints times the mean time of one", "lane")
        self._scheduled = self._gauge("queue_scheduled", "Hints that wait for a later moment")
        self._uncached = self._counter("answers_uncached", "Answers that could not be kept in the cache")
        self._refusals = self._counter("webhooks_refused", "Webhook requests that were refused", "code")

    def attempt_ended(
        self, *, kind: str, outcome: str, duration_s: float, first_text_s: float | None, calls: Sequence[Closing]
    ) -> None:
        """An attempt with all its model calls. `first_text_s`: None where it wrote none."""
        self._attempts.labels(kind, outcome).inc()
        self._attempt_s.labels(kind, outcome).observe(duration_s)
        if first_text_s is not None:
            self._first_text_s.labels(kind).observe(first_text_s)
        for call in calls:
            self._call_ended(call)

    def _call_ended(self, call: Closing) -> None:
        names = (call.model.provider, call.model.model)
        self._calls.labels(*names, call.status).inc()
        self._call_s.labels(*names).observe(call.duration_ms / 1000)
        if call.first_token_ms is not None:
            self._first_token_s.labels(*names).observe(call.first_token_ms / 1000)
        tokens = {
            "in": call.tokens_in,
            "cached": call.tokens_cached,
            "out": call.tokens_out,
            "reasoning": call.tokens_reasoning,
        }
        for direction, count in tokens.items():
            self._tokens.labels(*names, direction).inc(count or 0)
        self._cost.labels(*names).inc(call.cost_usd or 0.0)
        if call.failed_checks is not None:
            self._checked.labels(call.route or "", "failed" if call.failed_checks else "passed").inc()
        for check in call.failed_checks or ():
            self._failed_checks.labels(call.route or "", check).inc()

    def hints_enqueued(self, by: EnqueuedBy, added: int) -> None:
        self._enqueued.labels(by).inc(added)

    def swept(self, outcome: SweepOutcome) -> None:
        self._sweeps.labels(outcome).inc()

    def hint_claimed(self, lane: str, waited_s: float) -> None:
        self._waited_in(lane).observe(waited_s)

    def hint_lease_lost(self) -> None:
        self._leases_lost.inc()

    def backlog_seen(self, backlog: Backlog) -> None:
        """What the whole fleet's queue holds; an autoscaler divides `queue_work_seconds` by places."""
        self._scheduled.set(backlog.scheduled)
        for lane in backlog.lanes:
            self._waiting.labels(lane.lane).set(lane.waiting)
            self._oldest_s.labels(lane.lane).set(lane.oldest_s)
            self._running.labels(lane.lane).set(lane.running)
            self._work_s.labels(lane.lane).set(lane.work_s)

    def answer_uncached(self) -> None:
        self._uncached.inc()

    def webhook_refused(self, code: str) -> None:
        self._refusals.labels(code).inc()

    def watch_broadcast(self, *, sent: Callable[[], float], failed: Callable[[], float]) -> None:
        """Messages to watching clients, as the broadcast itself counts them."""
        messages = Gauge(
            "rowcall_broadcast_messages", "Messages to watching clients", ["outcome"], registry=self.registry
        )
        messages.labels("sent").set_function(sent)
        messages.labels("failed").set_function(failed)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"rowcall_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"rowcall_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"rowcall_{name}", text, labels, registry=self.registry, buckets=SECONDS)


# Spans: names as in OpenTelemetry's semantic conventions for generative AI


class ModelSpan:
    """A model call as a span. Without an SDK in the process it costs next to nothing and goes nowhere."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def first_chunk(self, after_s: float) -> None:
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", after_s)

    def answered_by(self, model: str) -> None:
        self._span.set_attribute("gen_ai.response.model", model)

    def used(self, usage: Usage) -> None:
        self._span.set_attribute("gen_ai.usage.input_tokens", usage.tokens_in)
        self._span.set_attribute("gen_ai.usage.output_tokens", usage.tokens_out)
        self._span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.tokens_cached)


@contextmanager
def model_span(operation: Literal["chat", "embeddings", "rerank"], model: ModelName) -> Iterator[ModelSpan]:
    """The span of the block. It is not made the current one: the block may be an async generator's, whose caller would
    see it between two items.
    """
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": model.provider,
        "gen_ai.request.model": model.model,
    }
    tracer = trace.get_tracer("rowcall")
    span = tracer.start_span(f"{operation} {model.model}", kind=trace.SpanKind.CLIENT, attributes=attributes)
    try:
        yield ModelSpan(span)
    except BaseException as error:
        span.set_attribute("error.type", error.code if isinstance(error, JobError) else type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        span.end()
