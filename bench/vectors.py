"""MiniLM vectors of a bench's texts, kept in the temporary folder: they cost minutes."""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.ports import Vectors
from worker.local.model_server import weights
from worker.local.model_server.minilm import embed

PIECES_PER_BATCH = 1024


def embedded(texts: Sequence[str]) -> Vectors:
    """(n, 384) float32, unit length, in the order of the texts."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"rowcall-bench-vectors-{digest}.npy"
    if not kept.exists():
        vectors = _embed(texts)
        part = kept.with_suffix(".part.npy")
        np.save(part, vectors)
        part.rename(kept)
    loaded: Vectors = np.load(kept)
    return loaded


def _embed(texts: Sequence[str]) -> Vectors:
    loaded, tokenizer = weights.load(weights.locate())
    pieces = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(pieces)), key=lambda index: len(pieces[index]))
    vectors: Vectors = np.empty((len(pieces), weights.WIDTH), np.float32)
    batch: list[int] = []
    for index in order:
        batch.append(index)
        if sum(len(pieces[i]) for i in batch) >= PIECES_PER_BATCH:
            vectors[batch] = embed(loaded, [pieces[i] for i in batch])
            batch = []
    if batch:
        vectors[batch] = embed(loaded, [pieces[i] for i in batch])
    return vectors
