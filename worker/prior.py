"""The shipped weights of the routing classifier; bench/routing.py made them."""

from pathlib import Path

import numpy as np

from jobs.decisions.predicting import Predictor

WEIGHTS = Path(__file__).with_name("weights") / "routing.npz"
SMALL, LARGE = 0, 1  # columns of its answer


def read_predictor() -> Predictor:
    """Predicts how well a small and a large model answer a question, 0 to 1."""
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        return Predictor.of(dict(arrays))


def write_predictor(predictor: Predictor, path: Path = WEIGHTS) -> None:
    """As half-precision numbers: its answers change by less than 0.01."""
    arrays = {name: array.astype(np.float16) for name, array in predictor.arrays().items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)
