"""Which route a row takes: the first rule that fits, else what the classifier picks, else the usual route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.decisions.predicting import Predictor


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a row before anything is read for it."""

    kind: str
    text: str  # the question, or the prompt
    tokens: int  # of the text and its history
    quality: str = "auto"  # auto, fast or best: the asker's wish
    tags: frozenset[str] = frozenset()
    history_turns: int = 0
    budget_left_share: float | None = None  # of the tenant's day, 1: all; None: there is no budget


@dataclass(frozen=True, slots=True)
class Rule:
    """All that is given must hold; a rule that gives nothing always does."""

    name: str
    route: str
    kinds: frozenset[str] = frozenset()
    quality: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()  # one of them
    min_tokens: int = 0
    max_tokens: int | None = None
    min_history_turns: int = 0
    max_budget_left_share: float | None = None

    def fits(self, traits: Traits) -> bool:
        left = traits.budget_left_share
        return (
            (not self.kinds or traits.kind in self.kinds)
            and (not self.quality or traits.quality in self.quality)
            and (not self.tags or not self.tags.isdisjoint(traits.tags))
            and traits.tokens >= self.min_tokens
            and (self.max_tokens is None or traits.tokens <= self.max_tokens)
            and traits.history_turns >= self.min_history_turns
            and (self.max_budget_left_share is None or (left is not None and left <= self.max_budget_left_share))
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route that the classifier may pick."""

    route: str
    column: int  # of the predictor's answer
    price: float  # relative to the others


@dataclass(frozen=True, slots=True)
class Classifier:
    """Predicts each candidate's quality and picks the greatest quality - lambda x price; for a text that is unlike all
    that it was trained on, whoever was best on average.
    """

    predictor: Predictor
    candidates: tuple[Candidate, ...]
    price_weight: float  # lambda, calibrated to a target

    def pick(self, text: str, embedding: NDArray[np.float32]) -> str:
        worths = self.predictor.predict(text, embedding).worths[0]
        values = [worths[c.column] - self.price_weight * c.price for c in self.candidates]
        return self.candidates[int(np.argmax(values))].route


@dataclass(frozen=True, slots=True)
class Choice:
    route: str
    reason: str  # rule:<name>, classifier or default


@dataclass(frozen=True, slots=True)
class Routing:
    """How rows are routed; a part of the configuration."""

    rules: tuple[Rule, ...] = ()
    classifier: Classifier | None = None
    default: str = "default"


DEFAULT_ROUTING = Routing()


def choose_route(traits: Traits, routing: Routing, embedding: NDArray[np.float32] | None = None) -> Choice:
    """The route's name, and why. `embedding`: of the text, (384,); without one there is nothing to classify by."""
    for rule in routing.rules:
        if rule.fits(traits):
            return Choice(rule.route, f"rule:{rule.name}")
    if routing.classifier is not None and embedding is not None:
        return Choice(routing.classifier.pick(traits.text, embedding), "classifier")
    return Choice(routing.default, "default")


def tags_of(input: Mapping[str, Any]) -> frozenset[str]:
    """`input.tags`, as far as they are texts: what a client sends beside the question is not checked."""
    tags = input.get("tags")
    return frozenset(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset()


def calibrated_price_weight(
    worths: NDArray[np.float64], true: NDArray[np.float64], prices: NDArray[np.float64], keep: float
) -> float:
    """The lambda that spends least while the mean quality stays at `keep` times that of the best single route.

    `worths`, as predicted, and `true` are (rows, routes); `prices` (routes,). 0 where no lambda keeps it.
    """
    wanted = keep * true.mean(axis=0).max()
    rows = np.arange(len(true))
    best, least = 0.0, float("inf")
    for weight in np.linspace(0.0, 2.0 / prices.max(), 201):
        picks = (worths - weight * prices).argmax(axis=1)
        if true[rows, picks].mean() >= wanted and prices[picks].mean() < least:
            best, least = float(weight), float(prices[picks].mean())
    return best
