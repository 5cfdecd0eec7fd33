"""all-MiniLM-L6-v2 as a textbook writes BERT: one text at a time, float64, `math.erf`, nothing fused or packed.

Slow, and only here to say what the vectors ought to be. A float32 twin of it was compared with torch: 1.7e-7.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float64]

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def read_tensors(folder: Path) -> dict[str, NDArray[Any]]:
    return load_file(folder / "model.safetensors")


def gelu(x: Array) -> Array:
    result: Array = x * 0.5 * (1 + _ERF(x / math.sqrt(2)))
    return result


def embed(tensors: Mapping[str, NDArray[Any]], pieces: Sequence[int]) -> Array:
    def tensor(name: str) -> Array:
        return tensors[name].astype(np.float64)

    def linear(name: str, x: Array) -> Array:
        return x @ tensor(f"{name}.weight").T + tensor(f"{name}.bias")

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * tensor(f"{name}.weight") + tensor(f"{name}.bias")

    def attention(name: str, x: Array) -> Array:
        query, key, value = (linear(f"{name}.self.{part}", x) for part in ("query", "key", "value"))
        heads = []
        for head in range(12):
            part = slice(head * 32, head * 32 + 32)
            scores = query[:, part] @ key[:, part].T / math.sqrt(32)
            shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(shares / shares.sum(axis=-1, keepdims=True) @ value[:, part])
        return norm(f"{name}.output.LayerNorm", x + linear(f"{name}.output.dense", np.concatenate(heads, axis=-1)))

    words = tensor("embeddings.word_embeddings.weight")[list(pieces)]
    positions = tensor("embeddings.position_embeddings.weight")[: len(pieces)]
    x = norm("embeddings.LayerNorm", words + positions + tensor("embeddings.token_type_embeddings.weight")[0])
    for index in range(6):
        layer = f"encoder.layer.{index}"
        x = attention(f"{layer}.attention", x)
        hidden = gelu(linear(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", hidden))
    mean = x.mean(axis=0)
    vector: Array = mean / np.linalg.norm(mean)
    return vector
