"""The shipped weights of the routing classifier; bench/routing.py made them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.decisions.predicting import Predictor
from jobs.decisions.routing import Candidate, Classifier

WEIGHTS = Path(__file__).with_name("weights") / "routing.npz"
SMALL, LARGE = 0, 1  # columns of its answer
PRICE_WEIGHT = 0.1
EMBEDDING_MODEL = "all-MiniLM-L6-v2"  # whose vectors it was trained on: those of another model mean nothing to it


def read_predictor() -> Predictor:
    """Predicts how well a small and a large model answer a question, 0 to 1."""
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        return Predictor.of(dict(arrays))


def prior_of(routes: Sequence[str]) -> Classifier:
    """Picks among two routes, a small model's and a large one's."""
    candidates = tuple(Candidate(route, column, float(column)) for column, route in enumerate(routes))
    return Classifier(read_predictor(), candidates, PRICE_WEIGHT)


def write_predictor(predictor: Predictor, path: Path = WEIGHTS) -> None:
    """As half-precision numbers: its answers change by less than 0.01."""
    arrays = {name: array.astype(np.float16) for name, array in predictor.arrays().items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)
