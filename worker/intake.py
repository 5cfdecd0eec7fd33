"""Webhook in, verified, enqueued, 202. Nothing here reads the database: the claim does."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.ports import Cancels, Queue, QueueUnavailable
from worker.telemetry import Metrics
from worker.webhooks import Found, Malformed, Watched, is_secret, is_signed, read_change, read_rows

log = structlog.get_logger()

PATH = "/webhooks/supabase"
SIGNATURE_HEADER = "x-rowcall-signature"
SECRET_HEADER = "x-rowcall-secret"  # noqa: S105 - a header's name
RETRY_AFTER_S = 5
READY_S = 2.0  # for the queue to answer a readiness check


class Refusal(Exception):
    """An answer other than 202. `message` is for the sender."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Bounds:
    max_body_bytes: int = 1_048_576
    max_backlog: int = 100_000  # hints in the queue; above it webhooks are refused, and the sweeper brings the rows
    body_timeout_s: float = 10.0


def create_intake(
    queue: Queue,
    cancels: Cancels,
    metrics: Metrics,
    *,
    secrets: Sequence[str],
    bounds: Bounds,
    tables: Mapping[str, Watched] | None = None,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The public application. Any of the secrets is good, so that they can be rotated; there must be one.

    `tables`: those of the project's own whose Database Webhooks make generations, by `schema.table`.
    """
    if not secrets or not all(secrets):
        raise ValueError("intake needs a webhook secret: without one anybody could enqueue")
    intake = _Intake(queue, cancels, metrics, tuple(secrets), bounds, tables or {}, clock)
    return Starlette(routes=[Route(PATH, intake.receive, methods=["POST"])])


async def why_unready(queue: Queue, bounds: Bounds) -> tuple[str, ...]:
    """The code with which webhooks would be refused now, by 503: for the readiness check."""
    try:
        async with asyncio.timeout(READY_S):
            depth = await queue.probe()
    except (QueueUnavailable, TimeoutError):
        return ("queue.unavailable",)
    return ("queue.full",) if depth >= bounds.max_backlog else ()


@dataclass(frozen=True, slots=True)
class _Intake:
    queue: Queue
    cancels: Cancels
    metrics: Metrics
    secrets: tuple[str, ...]
    bounds: Bounds
    tables: Mapping[str, Watched]
    clock: Callable[[], float]

    async def receive(self, request: Request) -> Response:
        try:
            found = await self._read(request)
            added = await self._enqueue(found)
        except Refusal as refusal:
            return self._refused(refusal)
        log.debug("webhook.accepted", hints=len(found.hints), added=added)
        return JSONResponse({"enqueued": added}, status_code=202)

    async def _read(self, request: Request) -> Found:
        """What an authentic body asks for. Who may not ask learns nothing of what is wrong with the question."""
        signature, secret = request.headers.get(SIGNATURE_HEADER), request.headers.get(SECRET_HEADER)
        if signature is None and not is_secret((secret or "").encode("latin-1"), self.secrets):
            raise Refusal(401, "webhook.unauthorized", f"{SIGNATURE_HEADER} or {SECRET_HEADER} is missing or wrong")
        body = await self._body(request)
        if signature is not None and not is_signed(signature, body, self.secrets, now_s=self.clock()):
            raise Refusal(401, "webhook.unauthorized", f"{SIGNATURE_HEADER} is wrong or too old")
        _require_json(request)
        try:
            if signature is not None:
                return read_rows(body)
            return read_change(body, now=datetime.fromtimestamp(self.clock(), UTC), tables=self.tables)
        except Malformed as problem:
            raise Refusal(400, "webhook.malformed", str(problem)) from problem

    async def _body(self, request: Request) -> bytes:
        """The raw body; not a byte more than the bound is kept, whatever the request says of its length."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.bounds.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.bounds.max_body_bytes:
                        message = f"the body is larger than {self.bounds.max_body_bytes} bytes"
                        raise Refusal(413, "webhook.too_large", message)
        except TimeoutError as error:
            raise Refusal(408, "webhook.slow", f"the body took over {self.bounds.body_timeout_s:g} s") from error
        except ClientDisconnect as error:
            raise Refusal(400, "webhook.cut", "the body ended early") from error
        return bytes(body)

    async def _enqueue(self, found: Found) -> int:
        try:
            if found.canceled:
                await self.cancels.announce(found.canceled)
            if not found.hints:
                return 0
            depth = await self.queue.depth()
            if depth >= self.bounds.max_backlog:
                message = f"{depth} generations wait, the limit is {self.bounds.max_backlog}; these rows stay queued"
                raise Refusal(503, "queue.full", message)
            added = await self.queue.enqueue(found.hints, wait_s=found.wait_s)
        except QueueUnavailable as problem:
            raise Refusal(503, "queue.unavailable", "the queue is away; these rows stay queued") from problem
        self.metrics.hints_enqueued("webhook", added)
        return added

    def _refused(self, refusal: Refusal) -> Response:
        self.metrics.webhook_refused(refusal.code)
        log.warning("webhook.refused", status=refusal.status, code=refusal.code, problem=refusal.message)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if refusal.status == 503 else None
        body = {"code": refusal.code, "message": refusal.message}
        return JSONResponse(body, status_code=refusal.status, headers=headers)


def _require_json(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "webhook.not_json", f"content-type: it must be application/json (it is {given!r:.80})")
