"""Questions answered by workers of this process, one variant of the configuration after another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from jobs.decisions.pricing import Price
from jobs.errors import Permanent
from jobs.ports import ModelName
from worker.app import Machine, machine
from worker.client import Rowcall
from worker.evaluating import Measured, measured
from worker.evaluation_plan import EvaluationError, Item, Plan, Row, Variant
from worker.ports import Closing
from worker.settings import ConfigurationError, Settings, load

Result = TypeVar("Result")


async def run_variants(
    plan: Plan, environ: Mapping[str, str], rowcall: Rowcall, progress: Callable[[str], None]
) -> dict[str, list[Measured]]:
    """What each variant made of each question, in their order. Raises ConfigurationError for a variant that is none.

    The rows are the signed-in user's own and stay in the project. They go the way of all rows, but for the queue: they
    are born as this process's own, so that no worker of the project answers them by another configuration.
    """
    settings = {variant.name: configured(environ, variant) for variant in plan.variants}
    results: dict[str, list[Measured]] = {}
    for variant in plan.variants:
        chosen = settings[variant.name]
        as_if = list_prices(chosen) if chosen.is_local else None
        async with working(chosen) as m:
            places = asyncio.Semaphore(plan.at_once)

            async def ask(
                number: int, item: Item, m: Machine = m, variant: Variant = variant
            ) -> tuple[Row, Sequence[Closing]]:
                async with places:  # noqa: B023 - gathered before the next variant
                    try:
                        ended = await answered(rowcall, m, item, plan.kind, variant.options)
                    except Permanent as error:
                        raise EvaluationError(f"question {number} of the set: {error.message}") from error
                    progress(variant.name)
                    return ended

            answers = await all_or_none(ask(number, item) for number, item in enumerate(plan.items, 1))
        results[variant.name] = [
            measured(row, item, as_if, calls) for (row, calls), item in zip(answers, plan.items, strict=True)
        ]
    return results


def configured(environ: Mapping[str, str], variant: Variant) -> Settings:
    """The variant's settings. Raises ConfigurationError, also where its weights cannot be read."""
    settings = load(environ, variant.overrides)
    settings = settings if variant.route is None else settings.always_by(variant.route)
    settings.read_routing()
    return settings


async def all_or_none(awaited: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """What each answers, in order. Where one raises, the others are canceled and have ended before that is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in awaited]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


def require_configured(environ: Mapping[str, str], variants: Sequence[Variant]) -> None:
    """Raises ConfigurationError where the project's own configuration is wrong, or a variant's, which is named then."""
    load(environ)
    for variant in variants:
        try:
            configured(environ, variant)
        except ConfigurationError as error:
            raise ConfigurationError(f"variant {variant.name}: {error}") from error


def list_prices(settings: Settings) -> dict[str, Price]:
    """What the models that rowcall.toml names for the routes would cost, by route."""
    named = {name: ModelName(r.provider, r.model) for name, r in settings.configuration.routes.items()}
    return {name: settings.prices[model] for name, model in named.items() if model in settings.prices}


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Machine]:
    """A machine that keeps the rows that it began, while the block runs."""
    async with machine(settings) as m, m.leases.renewed():
        yield m


async def answered(rowcall: Rowcall, m: Machine, item: Item, kind: str, options: Row) -> tuple[Row, Sequence[Closing]]:
    """The ended row, and its calls as far as they are known here.

    One that is to be retried later waits for its time in the queue, for whichever worker is there.
    """
    work = await m.rows.begin(await rowcall.claims(), kind, item.input, options)
    calls = await m.executor.see_through(work)
    row = (await rowcall.wait_all([work.id]))[work.id]
    return row, calls if row["attempt"] == work.attempt else ()
