"""The public routing sets, with the vectors of their prompts, and how they are split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from public_data import SHARED, read_rows
from vectors import embedded

from jobs.decisions.predicting import raw_features
from jobs.ports import Vectors

FOLDER = SHARED / "routing"
# US dollars per million tokens, in and out alike (LLMRouter, default_llm.json, see the set's README).
PRICES = {
    "codegemma-7b": 0.2,
    "gemma-2-9b-it": 0.1,
    "llama-3.1-8b-instruct": 0.2,
    "llama-3.1-nemotron-51b-instruct": 0.9,
    "llama-3.3-nemotron-super-49b-v1": 0.9,
    "llama3-chatqa-1.5-70b": 0.9,
    "llama3-chatqa-1.5-8b": 0.2,
    "mistral-7b-instruct-v0.3": 0.2,
    "qwen2.5-7b-instruct": 0.2,
}

Indices = NDArray[np.intp]
Qualities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RoutingSet:
    name: str
    texts: tuple[str, ...]
    features: Vectors  # (texts, as predicting.raw_features says)
    models: tuple[str, ...]
    prices: Qualities  # (models,)
    scores: Qualities  # (texts, models), 0 to 1
    tasks: tuple[str, ...]

    def part(self, indices: Indices) -> "RoutingSet":
        chosen = [int(index) for index in indices]
        texts, tasks = (tuple(values[i] for i in chosen) for values in (self.texts, self.tasks))
        return RoutingSet(
            self.name, texts, self.features[indices], self.models, self.prices, self.scores[indices], tasks
        )


def read_nine(folder: Path) -> RoutingSet:
    rows = read_rows(folder / "llmrouter9.jsonl")
    texts = tuple(row["prompt"] for row in rows)
    scores = np.array([[row["scores"][model] for model in PRICES] for row in rows])
    tasks = tuple(row["task"] for row in rows)
    prices = np.array(list(PRICES.values()))
    return RoutingSet("llmrouter9", texts, raw_features(texts, embedded(texts)), tuple(PRICES), prices, scores, tasks)


def read_pair(folder: Path, name: str) -> RoutingSet:
    """Mixtral and GPT-4."""
    rows = read_rows(folder / f"{name}.jsonl")
    texts = tuple(row["prompt"] for row in rows)
    scores = np.array([[row["weak_correct"], row["strong_correct"]] for row in rows], np.float64)
    tasks = tuple(row.get("subject", name) for row in rows)
    features = raw_features(texts, embedded(texts))
    return RoutingSet(name, texts, features, ("mixtral", "gpt-4"), np.array([0.24, 24.7]), scores, tasks)


def weak_answers(folder: Path, name: str) -> list[str]:
    """Mixtral's, in the order of the set."""
    return [row["weak_response"] for row in read_rows(folder / f"{name}.jsonl")]


def split(count: int, shares: tuple[float, ...], seed: int) -> list[Indices]:
    """Random parts of the shares given."""
    order = np.random.default_rng(seed).permutation(count)
    return np.split(order, np.cumsum([round(share * count) for share in shares[:-1]]))
