"""all-MiniLM-L6-v2 as a textbook writes BERT: one text at a time, float64, `math.erf`, nothing fused or packed.

Slow, and only here to say what the vectors ought to be; a float32 twin of it was compared with torch: 1.7e-7. What it
says of some texts is kept in reference_vectors.json, by `python -m tests.local.model_server.reference_minilm`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from worker.local.model_server.weights import locate

Array = NDArray[np.float64]

VECTORS = Path(__file__).with_name("reference_vectors.json")
SHORTEST = "a"
TEXTS = (
    SHORTEST,
    "This is an example sentence",
    "How do I enable row level security on a table in Supabase?",
    "Ünïcode, 中文 and 🙂 are cut into pieces, or unknown.",
    "The answer is streamed while it is written, and the citations point to the chunks of your own documents. " * 20,
)

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

    words = tensors["embeddings.word_embeddings.weight"][list(pieces)].astype(np.float64)
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


def write_vectors() -> None:
    folder = locate()
    tensors = read_tensors(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    lines = []
    for text in TEXTS:
        vector = embed(tensors, tokenizer.encode(text).ids)
        lines.append(f"{json.dumps(text, ensure_ascii=False)}: {json.dumps([round(x, 8) for x in vector.tolist()])}")
    VECTORS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_vectors()
