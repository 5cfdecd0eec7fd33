"""Weights of the routing classifier as a file: those that `rowcall calibrate` writes, and the shipped prior."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.decisions.predicting import Predictor
from jobs.decisions.routing import Candidate, Classifier

HEADER = "header"  # beside the arrays: JSON


class UnreadableRouter(Exception):
    """No file of `rowcall calibrate --write`; the message names it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What weights were made from, and what they were worth on answers that they had not seen."""

    routes: tuple[str, ...]  # of the predictor's columns
    prices: tuple[float, ...]  # of each, 0 for the cheapest, 1 for the dearest
    price_weight: float
    embedding_model: str
    made_at: str  # ISO 8601
    source: str
    rows: int
    keep: float
    held_out: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRouter:
    predictor: Predictor
    header: Header

    @property
    def classifier(self) -> Classifier:
        """As it was calibrated."""
        columns = zip(self.header.routes, self.header.prices, strict=True)
        candidates = tuple(Candidate(route, column, price) for column, (route, price) in enumerate(columns))
        return Classifier(self.predictor, candidates, self.header.price_weight)


def write_router(router: StoredRouter, path: Path) -> None:
    """As a NumPy archive, at exactly this path."""
    arrays = {**router.predictor.arrays(), HEADER: np.array(json.dumps(asdict(router.header)))}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_router(path: Path) -> StoredRouter:
    """Raises UnreadableRouter."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        header = json.loads(str(arrays.pop(HEADER)))
        header |= {name: tuple(header[name]) for name in ("routes", "prices")}
        return StoredRouter(Predictor.of(arrays), Header(**header))
    except OSError as error:
        raise UnreadableRouter(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UnreadableRouter(f"{path} is no file of `rowcall calibrate --write`") from error
