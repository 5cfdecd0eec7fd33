"""The worker's composition root: Settings → adapters → ports. Nothing else imports adapters."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from uuid import uuid4

import structlog

import jobs
from jobs.decisions.breaking import Breaking
from jobs.decisions.pricing import most_usd
from jobs.decisions.prompting import Template
from jobs.decisions.routing import DEFAULT_ROUTING, Routing
from jobs.errors import JobError
from jobs.ports import Job, ModelName, Opening, World
from worker.adapters.broadcast import SupabaseBroadcast, broadcasting
from worker.adapters.circuits import RedisCircuits
from worker.adapters.database import Database
from worker.adapters.database import connected as database_connected
from worker.adapters.examples import SupabaseExamples
from worker.adapters.knowledge import SupabaseKnowledge, cached_of
from worker.adapters.limits import RedisLimits
from worker.adapters.memory import HashEmbedder, MemoryDatabase, MemoryExamples, MemoryKnowledge, MemoryMessageQuota
from worker.adapters.message_quota import RedisMessageQuota
from worker.adapters.models import Clients, OpenAIChat, OpenAIEmbedder, openai_client
from worker.adapters.reranking import HttpReranker
from worker.adapters.rows import SupabaseRows
from worker.adapters.tables import SupabaseTables
from worker.adapters.tokens import count_tokens
from worker.answer_stream import AttemptStream
from worker.asking import Asker
from worker.configuration import BroadcastSection, LanesSection, RerankerSection, WorkerSection
from worker.drilling import AllClosed, Drilled, Failing, Kept, NoLedger, NoStream, chains_of, drill
from worker.environment import current_environment
from worker.executor import Executor, Timing
from worker.health import create_internal
from worker.leases import Leases
from worker.ledger import AttemptLedger
from worker.pacing import PacedChat, PacedEmbedder
from worker.ports import MessageQuota
from worker.prompt_checks import CheckedPrompt, check_prompts
from worker.queue.arq_queue import ArqQueue
from worker.queue.cancels import hear_cancels
from worker.queue.connecting import connected as redis_connected
from worker.queue.hint_worker import Claiming, HintWorker
from worker.queue.stock import job_function
from worker.queue.turns import RedisTurn
from worker.serving import serving, stop_on_signals
from worker.settings import Settings, load
from worker.settling import Policy
from worker.sweeper import Sweeper, Sweeping
from worker.telemetry import Metrics, configure_logging
from worker.watching import warn_of_other_models, watch_backlog

log = structlog.get_logger()


def read_jobs() -> Mapping[str, Job]:
    """The jobs by kind: what a module of `jobs` defines under its own name. So one file makes a job."""
    names = [module.name for module in iter_modules(jobs.__path__) if not module.ispkg]
    found = {name: getattr(import_module(f"jobs.{name}"), name, None) for name in names}
    return {name: job for name, job in found.items() if iscoroutinefunction(job)}


JOBS = read_jobs()
QUESTION_TOKENS = 8192  # as much as OpenAI's embedding models take at once: the claim has not read the question
TURN_S = 5.0  # of the sweeper, before another process takes it
PROMPTS = Path(__file__).parents[1] / "jobs" / "prompts"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a worker process runs."""

    name: str
    rows: SupabaseRows
    knowledge: SupabaseKnowledge
    queue: ArqQueue
    redis: Any  # arq's client: the loop that takes hints wants it
    leases: Leases
    executor: Executor
    asker: Asker  # takes every hint; the executor is behind it
    sweeper: Sweeper
    metrics: Metrics


async def run_worker(settings: Settings) -> None:
    """Takes hints, runs generations, renews leases, sweeps; until SIGTERM or SIGINT, then drains."""
    configure_logging(settings.environment.ROWCALL_LOG)
    stop = stop_on_signals()
    section, internal = settings.configuration.worker, settings.configuration.internal
    async with machine(settings) as m:
        hints = HintWorker(m.redis, m.asker.run, claiming_of(section, settings.configuration.lanes), m.metrics)
        health = create_internal(unready=hints.unready, registry=m.metrics.registry)
        served = serving(health, host=internal.host, port=internal.port, name="internal")
        async with served, m.leases.renewed():
            watching = asyncio.create_task(watch_backlog(m.queue, m.metrics))
            hearing = asyncio.create_task(hear_cancels(m.redis, m.leases.look_at))
            sweeping = asyncio.create_task(m.sweeper.run(stop))
            looking = asyncio.create_task(warn_of_other_models(m.knowledge.embedding_models, settings.embedding.model))
            if routes := settings.routes_without_cache:
                log.warning("cache.off", routes=list(routes))
            log.info("worker.started", name=m.name, concurrency=section.concurrency)
            try:
                await hints.work(stop)
                await sweeping
            finally:
                for task in (hearing, watching, looking, sweeping):
                    task.cancel()
                await asyncio.gather(hearing, watching, looking, sweeping, return_exceptions=True)
        log.info("worker.stopped", name=m.name)


def claiming_of(section: WorkerSection, lanes: LanesSection) -> Claiming:
    """How a worker of these settings takes hints."""
    return Claiming(
        max_jobs=section.concurrency,
        grace_s=section.grace_s,
        lease_s=section.lease_s,
        weights=lanes.model_dump(),
        tenant_places=section.tenant_concurrency,
    )


@dataclass(frozen=True, slots=True)
class Connections:
    """To every outside system."""

    database: Database
    redis: Any  # arq's client
    models: Clients
    broadcast: SupabaseBroadcast


@asynccontextmanager
async def connections(settings: Settings) -> AsyncIterator[Connections]:
    """All of a worker's, while the block runs."""
    environment, section = settings.environment, settings.configuration.broadcast
    url, secret_key = environment.SUPABASE_URL, environment.SUPABASE_SECRET_KEY.get_secret_value()
    patience_s = settings.configuration.worker.lease_s / 3
    async with (
        database_connected(url, secret_key, thread_timeout_s=patience_s) as database,
        redis_connected(environment.REDIS_URL) as redis,
        AsyncExitStack() as stack,
    ):
        models = await connect_models(stack, settings)
        quota = quota_of(section, redis)
        async with broadcasting(url, secret_key, quota=quota, interval_s=section.interval_s) as broadcast:
            yield Connections(database, redis, models, broadcast)


@asynccontextmanager
async def machine(settings: Settings) -> AsyncIterator[Machine]:
    """A worker, every adapter connected while the block runs."""
    configuration = settings.configuration
    routing = settings.read_routing()  # before anything is connected: it may say that a file does not fit
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
    policy, metrics = Policy(**configuration.retries.model_dump()), Metrics()
    async with connections(settings) as to:
        metrics.watch_broadcast(sent=lambda: to.broadcast.sent, failed=lambda: to.broadcast.failed)
        knowledge = SupabaseKnowledge(to.database, embedding_model=settings.embedding_name)
        lease_s = configuration.worker.lease_s
        rows = SupabaseRows(
            to.database,
            worker=name,
            lease_s=lease_s,
            opens=first_calls(settings),
            max_losses=policy.max_losses,
            uncached=metrics.answer_uncached,
        )
        queue, leases = ArqQueue(to.redis, redelivery_s=lease_s), Leases(rows, lease_s=lease_s)
        executor = Executor(
            jobs=JOBS,
            world=worlds_of(settings, to, knowledge, routing),
            rows=rows,
            queue=queue,
            broadcast=to.broadcast,
            leases=leases,
            prices=settings.prices,
            count_tokens=count_tokens,
            metrics=metrics,
            policy=policy,
            timing=Timing(configuration.worker.checkpoint_every_s, configuration.worker.attempt_timeout_s),
        )
        sweeping = Sweeping(**configuration.sweeper.model_dump(), max_backlog=configuration.intake.max_backlog)
        # A worker that dies with the turn keeps it for no longer than its rows.
        sweeper = Sweeper(rows, queue, RedisTurn(to.redis, ttl_s=min(TURN_S, lease_s)), metrics, sweeping)
        asker = Asker(settings.table_automations, SupabaseTables(to.database), queue, otherwise=executor.run)
        try:
            yield Machine(name, rows, knowledge, queue, to.redis, leases, executor, asker, sweeper, metrics)
        finally:
            await rows.close()


def first_calls(settings: Settings) -> Mapping[str, Opening]:
    """By kind, where a job's first model call is known beforehand: the claim opens its ledger row."""
    most = most_usd(settings.embedding_price, tokens_in=QUESTION_TOKENS, tokens_out=0)
    embedding = Opening("embed", settings.embedding_name, reserved_usd=most)
    return {"answer": embedding, "complete": settings.as_routes()["default"].opening("complete")}


def worlds_of(
    settings: Settings, to: Connections, knowledge: SupabaseKnowledge, routing: Routing
) -> Callable[[AttemptLedger, AttemptStream], World]:
    """The world of each attempt: all but the ledger and the stream is shared."""
    limits = RedisLimits(to.redis, settings.limits)
    examples = SupabaseExamples(to.database, embedding_model=settings.embedding_name)
    embedder = paced_embedder_of(settings, to.models, limits)
    model = PacedChat(OpenAIChat(to.models), limits, count_tokens)
    circuits = RedisCircuits(to.redis, Breaking(**settings.configuration.breaking.model_dump()))
    routes, prompts = settings.as_routes(), read_prompts()
    reranker = reranker_of(to.models, settings.reranker)
    reranker_price = None if reranker is None else settings.prices.get(reranker.name)

    def world(ledger: AttemptLedger, stream: AttemptStream) -> World:
        return World(
            knowledge=knowledge,
            examples=examples,
            embedder=embedder,
            model=model,
            ledger=ledger,
            stream=stream,
            circuits=circuits,
            count_tokens=count_tokens,
            routes=routes,
            routing=routing,
            prompts=prompts,
            retrieving=settings.retrieving,
            few_shot=settings.few_shot,
            caching=settings.caching,
            reranker=reranker,
            embeds_units=settings.embedding.sentences,
            embedding_price=settings.embedding_price,
            reranker_price=reranker_price,
        )

    return world


async def connect_models(stack: AsyncExitStack, settings: Settings) -> Clients:
    """A client for each provider, by its name; closed with the stack."""
    return {
        provider: await stack.enter_async_context(openai_client(access.base_url, access.api_key.get_secret_value()))
        for provider, access in settings.providers.items()
    }


def reranker_of(clients: Clients, section: RerankerSection) -> HttpReranker | None:
    """None: rowcall.toml names none."""
    if section.provider is None or section.model is None:
        return None
    name = ModelName(section.provider, section.model)
    return HttpReranker(clients[section.provider], name, timeout_s=section.timeout_s)


def paced_embedder_of(settings: Settings, clients: Clients, limits: RedisLimits) -> PacedEmbedder:
    """Of questions and chunks, within the fleet's limits."""
    name, sends_dimensions = settings.embedding_name, settings.embedding.sends_dimensions
    embedder = OpenAIEmbedder(clients[name.provider], name, sends_dimensions=sends_dimensions)
    return PacedEmbedder(embedder, limits, count_tokens)


@asynccontextmanager
async def connected_embedder(settings: Settings) -> AsyncIterator[PacedEmbedder]:
    """The same without a worker around it, while the block runs."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_connected(settings.environment.REDIS_URL))
        clients = await connect_models(stack, settings)
        yield paced_embedder_of(settings, clients, RedisLimits(redis, settings.limits))


def quota_of(section: BroadcastSection, redis: Any) -> MessageQuota:
    """The fleet's rate of messages, in Redis; of this process alone while Redis is away."""
    alone = MemoryMessageQuota(messages_per_s=section.messages_per_s)
    return RedisMessageQuota(redis, messages_per_s=section.messages_per_s, otherwise=alone)


async def drill_fallbacks(settings: Settings) -> AsyncIterator[Drilled]:
    """Each chain of each route as it did its work, its models failing on purpose. Calls the others' models."""
    routes, memory = settings.as_routes(), MemoryDatabase()
    embedder = HashEmbedder()
    chains = chains_of(routes)
    async with AsyncExitStack() as stack:
        clients = await connect_models(stack, settings)
        kept = await kept_for_drill(settings) if any(chain.reaches_cache for chain in chains) else Kept(None)
        for chain in chains:
            world = World(
                knowledge=MemoryKnowledge(memory, embedding_model=embedder.name),
                examples=MemoryExamples(memory),
                embedder=embedder,
                model=Failing(OpenAIChat(clients), chain),
                ledger=NoLedger(),
                stream=NoStream(),
                circuits=AllClosed(),
                count_tokens=count_tokens,
                routes=routes,
                routing=DEFAULT_ROUTING,
                prompts={},
            )
            yield await drill(chain, kept, world)


async def kept_for_drill(settings: Settings) -> Kept:
    """A cached answer, as the project offers it to the owner of its passage; there is none of it left."""
    if settings.caching.mode == "off":
        return Kept(None, "[cache] has mode off, so no answer is ever kept")
    environment = settings.environment
    secret_key = environment.SUPABASE_SECRET_KEY.get_secret_value()
    async with database_connected(environment.SUPABASE_URL, secret_key) as database:
        try:
            told = await database.call("drill_cached_answer_v1", {})
        except JobError as error:
            return Kept(None, f"{error.code}: {error.message}")
    return Kept(cached_of(told["cached"]) if told["cached"] else None, told["problem"])


def check_vocabulary() -> None:
    """Counts tokens once. Raises what keeps it from that: a vocabulary that is missing or damaged."""
    count_tokens("")


def checked_prompts() -> tuple[CheckedPrompt, ...]:
    """The prompt files, with what is wrong with them."""
    return check_prompts(PROMPTS, JOBS, count_tokens)


def read_prompts() -> dict[str, Template]:
    """The prompt files, by name without ending."""
    return {path.stem: Template.of(path.stem, path.read_text(encoding="utf-8")) for path in PROMPTS.glob("*.md")}


def stock_settings(settings: Settings) -> dict[str, Any]:
    """What `arq worker.app.WorkerSettings` runs: arq's own loop on our hints. Slower than ours, correct beside it."""
    from arq.connections import RedisSettings

    from worker.queue.wire import QUEUE, dumps, loads

    running = AsyncExitStack()
    holder: dict[str, Machine] = {}

    async def run(hint: Any) -> None:
        await holder["machine"].asker.run(hint)

    async def start(_ctx: dict[Any, Any]) -> None:
        configure_logging(settings.environment.ROWCALL_LOG)
        m = holder["machine"] = await running.enter_async_context(machine(settings))
        await running.enter_async_context(m.leases.renewed())

    async def close(_ctx: dict[Any, Any]) -> None:
        await running.aclose()

    return {
        "functions": [job_function(run)],
        "redis_settings": RedisSettings.from_dsn(settings.environment.REDIS_URL),
        "queue_name": QUEUE,
        "max_jobs": settings.configuration.worker.concurrency,
        "allow_abort_jobs": True,
        "on_startup": start,
        "on_shutdown": close,
        "job_serializer": dumps,
        "job_deserializer": loads,
    }


def __getattr__(name: str) -> Any:
    """WorkerSettings is made when arq asks for it: importing this module reads no environment."""
    if name == "WorkerSettings":
        return type(name, (), stock_settings(load(current_environment())))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
