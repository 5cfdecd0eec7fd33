"""How much a measured difference proves."""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]  # (n,), one a question

RESAMPLES = 10_000
ILLUSTRATION = 100  # fewer questions than this prove little
_AT_ONCE = 2_000_000  # values drawn, so that memory does not grow with the questions


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the 95 % around it. NaN where there is nothing to estimate from."""

    estimate: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether chance is unlikely to have made a difference from zero."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(nan, nan, nan)


def paired(
    one: Values, two: Values, statistic: Callable[[Values, Values], float | Values], *, seed: int = 0
) -> Interval:
    """The statistic of two measurements of the same questions: a paired bootstrap (Efron 1979), percentile interval.

    `statistic` is given values of shape (…, n) and answers shape (…).
    """
    if len(one) != len(two):
        raise ValueError(f"paired values must be of the same questions: {len(one)} and {len(two)}")
    if not len(one):
        return UNKNOWN
    rng, rounds = np.random.default_rng(seed), max(1, _AT_ONCE // len(one))
    parts = []
    for done in range(0, RESAMPLES, rounds):
        drawn = rng.integers(len(one), size=(min(rounds, RESAMPLES - done), len(one)))
        parts.append(np.asarray(statistic(one[drawn], two[drawn])))
    resampled = np.concatenate(parts)
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return UNKNOWN
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(float(statistic(one, two)), float(low), float(high))


def difference(one: Values, two: Values) -> Values:
    """How much the mean of `one` is above that of `two`."""
    return np.asarray(one.mean(axis=-1) - two.mean(axis=-1))


def kept(one: Values, two: Values) -> Values:
    """The mean of `one` as a share of that of `two`. NaN where `two` is nothing."""
    whole = two.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, one.mean(axis=-1) / whole, np.nan)


def saving(one: Values, two: Values) -> Values:
    """The share of the sum of `two` that `one` does without, 1: all of it. NaN where `two` is nothing."""
    whole = two.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 1 - one.sum(axis=-1) / whole, np.nan)
