"""A router from answers of several routes: trained, calibrated to a target, judged by rows that it has not seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.decisions.predicting import Numbers, Predictor, train
from jobs.decisions.routing import calibrated_price_weight
from jobs.decisions.statistics import Interval, difference, kept, paired, saving

Indices = NDArray[np.intp]
Table = NDArray[np.float64]  # (rows, routes)

SEED = 20261125
FOLDS = 10  # each router in cross-validation has nine tenths of the rows: less pessimistic than four fifths
LEAST_PROPENSITY = 0.05  # a rating stands for at most 20 rows


@dataclass(frozen=True, slots=True)
class Answers:
    """What routes made of the same questions; NaN where a route was not asked. Each route was asked some."""

    features: Numbers  # of each question, as predicting.raw_features says
    qualities: Table  # 0 to 1
    costs: Table  # US dollars

    def part(self, rows: Indices) -> "Answers":
        return Answers(self.features[rows], self.qualities[rows], self.costs[rows])

    @property
    def usual_costs(self) -> Table:
        """(routes,): of an answer."""
        mean: Table = np.nanmean(self.costs, axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Crossed:
    """Predictions for rows that training left out, as predicting.Prediction says."""

    qualities: Table
    worths: Table


@dataclass(frozen=True, slots=True)
class Router:
    """Picks the greatest predicted quality less price_weight x price; for a row unlike all others the safest route."""

    predictor: Predictor
    prices: Table  # (routes,), 0 for the cheapest, 1 for the dearest
    price_weight: float

    def picks(self, features: Numbers) -> Indices:
        """A route's column for each row."""
        worths = self.predictor.predict_features(features).worths
        chosen: Indices = (worths - self.price_weight * self.prices).argmax(axis=1)
        return chosen


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to choose routes, on rows that it was not made from."""

    name: str  # router, random mix, best, cheapest
    quality: float
    kept: Interval  # of the best route's quality, 1: all of it
    usd: float  # an answer
    saved: Interval  # of the best route's cost


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a router is worth on rows that it has not seen, beside choosing without looking at the question."""

    policies: tuple[Policy, ...]
    gain: Interval  # of quality, over the random mix of the same cost
    keep: float

    @property
    def router(self) -> Policy:
        return self.policies[0]

    @property
    def pays(self) -> bool:
        """Whether it is clearly better than the mix, saves, and has not clearly missed its target."""
        return self.gain.low > 0 and self.router.saved.low > 0 and self.router.kept.high >= self.keep


def calibrated(answers: Answers, keep: float) -> Router:
    """Trained on all rows; its price weight is the one that keeps `keep` of the best route's quality for least.

    What it keeps is told by predictions for rows that training left out.
    """
    left_out = _left_out(answers)
    prices = relative(answers.usual_costs)
    weight = calibrated_price_weight(left_out.worths, left_out.qualities, prices, keep)
    return Router(fitted(answers.features, answers.qualities), prices, weight)


def judged(answers: Answers, keep: float) -> Judgement:
    """By nested cross-validation: whoever picks a row's route, or is calibrated for it, has seen nothing of the row."""
    count = len(answers.features)
    router, mix, best, cheapest = (_Picked.nothing(count) for _ in range(4))
    whole = _left_out(answers)
    costs = np.where(np.isnan(answers.costs), answers.usual_costs, answers.costs)
    for held, rest in _splits(count):
        known = answers.part(rest)
        routed = calibrated(known, keep).picks(answers.features[held])
        strong, cheap = int(whole.qualities[rest].mean(axis=0).argmax()), int(known.usual_costs.argmin())
        for picked, columns in ((router, routed), (best, strong), (cheapest, cheap)):
            picked.qualities[held] = whole.qualities[held, columns]
            picked.costs[held] = costs[held, columns]
        share = _share_of_cheap(*(float(picked.costs[held].sum()) for picked in (router, best, cheapest)))
        for mixed, dear, low in zip(mix.both, best.both, cheapest.both, strict=True):
            mixed[held] = (1 - share) * dear[held] + share * low[held]
    named = {"router": router, "random mix": mix, "best": best, "cheapest": cheapest}
    policies = tuple(_policy(name, picked, best) for name, picked in named.items())
    return Judgement(policies, paired(router.qualities, mix.qualities, difference), keep)


def fitted(features: Numbers, qualities: Table) -> Predictor:
    order = np.random.default_rng(SEED).permutation(len(features))
    return train(features, qualities, order)


def cross_predicted(features: Numbers, qualities: Table) -> Crossed:
    """What a predictor says of rows that it was not trained on: of each fold, the one that was trained on the rest."""
    crossed = Crossed(np.empty_like(qualities), np.empty_like(qualities))
    for held, rest in _splits(len(features)):
        prediction = fitted(features[rest], qualities[rest]).predict_features(features[held])
        crossed.qualities[held], crossed.worths[held] = prediction.qualities, prediction.worths
    return crossed


def completed(qualities: Table, predicted: Table, propensities: Table) -> Table:
    """The same with every entry filled, so that means over any policy's picks estimate what it would have got.

    Doubly robust (Dudik, Langford and Li 2011): the prediction, corrected by what was seen, weighed by how probable
    it was to be seen. A table without a gap stays as it is. What decided who was asked, beside the question, is left
    out: where that has to do with quality, the estimate is off.
    """
    seen = ~np.isnan(qualities)
    correction = (np.where(seen, qualities, 0.0) - predicted) / propensities
    filled: Table = predicted + np.where(seen, correction, 0.0)
    return filled


def relative(costs: Table) -> Table:
    """0 for the cheapest, 1 for the dearest. All 0 where they cost the same."""
    spread = costs.max() - costs.min()
    return (costs - costs.min()) / spread if spread > 0 else np.zeros_like(costs)


@dataclass(frozen=True, slots=True)
class _LeftOut:
    worths: Table  # predicted
    qualities: Table  # without gaps


@dataclass(frozen=True, slots=True)
class _Picked:
    """Of each row, what a policy got and paid."""

    qualities: Table  # (rows,)
    costs: Table

    @classmethod
    def nothing(cls, count: int) -> "_Picked":
        return cls(np.zeros(count), np.zeros(count))

    @property
    def both(self) -> tuple[Table, Table]:
        return self.qualities, self.costs


def _left_out(answers: Answers) -> _LeftOut:
    crossed = cross_predicted(answers.features, answers.qualities)
    seen = ~np.isnan(answers.qualities)
    if seen.all():
        return _LeftOut(crossed.worths, answers.qualities)
    propensities = cross_predicted(answers.features, seen.astype(np.float64)).qualities.clip(LEAST_PROPENSITY, 1.0)
    return _LeftOut(crossed.worths, completed(answers.qualities, crossed.qualities, propensities))


def _splits(count: int) -> Iterator[tuple[Indices, Indices]]:
    """(held out, rest), each row held out once."""
    order = np.random.default_rng(SEED).permutation(count)
    for held in np.array_split(order, FOLDS):
        yield held, np.setdiff1d(order, held)


def _share_of_cheap(router: float, best: float, cheapest: float) -> float:
    """How often the mix takes the cheapest, so that it costs what the router did."""
    return min(1.0, max(0.0, (best - router) / (best - cheapest))) if best > cheapest else 0.0


def _policy(name: str, picked: _Picked, best: _Picked) -> Policy:
    return Policy(
        name,
        float(picked.qualities.mean()),
        paired(picked.qualities, best.qualities, kept),
        float(picked.costs.mean()),
        paired(picked.costs, best.costs, saving),
    )
