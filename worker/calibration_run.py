"""`rowcall calibrate`: a router from answers, judged on questions that it has not seen, written where it pays."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from jobs.decisions.calibrating import Answers, Judgement, Router, calibrated, judged
from jobs.decisions.predicting import raw_features
from jobs.decisions.pricing import Price
from jobs.ports import ModelName, Opening, Vectors
from worker.app import connected_embedder
from worker.calibrating import CalibrationError, Measured, Source, rated, tabled
from worker.ledger import OpenCall, Prices
from worker.operating import Operator
from worker.operations import Operations
from worker.ports import Closing
from worker.router_file import Header, StoredRouter, write_router
from worker.settings import Settings

TEXTS_PER_CALL = 256  # in one row of the ledger
ROWS_PER_PAGE = 100
FIRST = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is calibrated, and to what."""

    answers: Source | None  # None: from ratings
    days: int
    routes: tuple[str, ...]  # empty: all that answered
    keep: float  # of the best route's quality
    write: Path | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of it."""

    source: Source
    measured: Measured
    router: Router
    judgement: Judgement


async def calibrate(wanted: Wanted, operator: Operator, settings: Settings) -> Calibration:
    """Raises CalibrationError where there is too little to learn from, before any model is called."""
    async with operator.connected() as operations:
        source = wanted.answers or await _rated(operations, wanted.days)
        measured = tabled(source, wanted.routes, listed_prices(settings))
        vectors = await _embedded([question.searched for question in measured.questions], operations, settings)
    features = raw_features([question.text for question in measured.questions], vectors)
    answers = Answers(features, measured.qualities, measured.costs)
    made = Calibration(source, measured, calibrated(answers, wanted.keep), judged(answers, wanted.keep))
    if wanted.write is not None and made.judgement.pays:
        try:
            write_router(_stored(made, settings.embedding.model), wanted.write)
        except OSError as error:
            raise CalibrationError(f"{wanted.write} cannot be written: {error.strerror}") from error
    return made


def listed_prices(settings: Settings) -> Mapping[str, Price | None]:
    """Of the model that rowcall.toml names for each route, also where the local one answers for it."""
    named = {name: ModelName(r.provider, r.model) for name, r in settings.configuration.routes.items()}
    return {name: settings.prices.get(model) for name, model in named.items()}


async def _rated(operations: Operations, days: int) -> Source:
    rows: list[Mapping[str, Any]] = []
    after, since = FIRST, datetime.now(UTC) - timedelta(days=days)
    while page := await operations.rated_answers(since, after, ROWS_PER_PAGE):
        rows += page
        after = page[-1]["id"]
    return rated(rows, days)


async def _embedded(texts: Sequence[str], operations: Operations, settings: Settings) -> Vectors:
    """(texts, 384). Each call stands in the ledger, as one of the kind `calibrate`."""
    vectors: list[Vectors] = []
    async with connected_embedder(settings) as embedder:
        opening = Opening("embed", embedder.name)
        for first in range(0, len(texts), TEXTS_PER_CALL):
            call = OpenCall(await operations.open_call("calibrate", opening), opening, time.monotonic)
            try:
                embedded = await embedder.embed(texts[first : first + TEXTS_PER_CALL], call.id)
            except BaseException as error:
                await operations.close_call(_closed(call, error, settings.prices))
                raise
            if embedded.usage is not None:
                call.used(embedded.usage)
            await operations.close_call(_closed(call, None, settings.prices))
            vectors.append(embedded.vectors)
    return np.concatenate(vectors)


def _closed(call: OpenCall, error: BaseException | None, prices: Prices) -> Closing:
    return call.closed(error, prices, len)  # no text streams in, so nothing is counted


def _stored(made: Calibration, embedding_model: str) -> StoredRouter:
    header = Header(
        routes=made.measured.routes,
        prices=tuple(made.router.prices.tolist()),
        price_weight=made.router.price_weight,
        embedding_model=embedding_model,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        source=made.source.name,
        rows=len(made.measured.questions),
        keep=made.judgement.keep,
        held_out={policy.name: asdict(policy) for policy in made.judgement.policies},
    )
    return StoredRouter(made.router.predictor, header)
