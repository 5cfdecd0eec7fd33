"""Intake's composition root. It needs the queue and no adapter: the SDKs of models and database stay out of it."""

from worker.health import create_internal
from worker.intake import Bounds, create_intake, why_unready
from worker.queue.arq_queue import ArqQueue
from worker.queue.cancels import RedisCancels
from worker.queue.connecting import connected
from worker.serving import serving, stop_on_signals
from worker.settings import ConfigurationError, Settings
from worker.telemetry import Metrics, configure_logging


async def run_intake(settings: Settings, *, host: str | None = None, port: int | None = None) -> None:
    """Receives webhooks until SIGTERM or SIGINT. `host` and `port` override rowcall.toml.

    Raises ConfigurationError and CannotListen.
    """
    if not settings.webhook_secrets:
        raise ConfigurationError(
            "environment: ROWCALL_WEBHOOK_SECRET is not set: anybody could enqueue (`rowcall init` makes one)"
        )
    configure_logging(settings.environment.ROWCALL_LOG)
    stop = stop_on_signals()
    section, internal = settings.configuration.intake, settings.configuration.internal
    metrics = Metrics()
    bounds = Bounds(max_body_bytes=section.max_body_bytes, max_backlog=section.max_backlog)
    async with connected(settings.environment.REDIS_URL) as redis:
        queue, cancels = ArqQueue(redis), RedisCancels(redis)
        intake = create_intake(
            queue, cancels, metrics, secrets=settings.webhook_secrets, bounds=bounds, tables=settings.watched_tables
        )
        health = create_internal(unready=lambda: why_unready(queue, bounds), registry=metrics.registry)
        public = serving(intake, host=host or section.host, port=section.port if port is None else port, name="intake")
        async with public, serving(health, host=internal.host, port=internal.port, name="internal"):
            await stop.wait()
