"""How well each of several models would answer a prompt: a small regression on the prompt's vector and looks.

Kernel ridge regression with a Gaussian kernel on some landmarks (Nyström; Williams and Seeger 2001), over principal
components of three things that complement each other: the sentence vector says what a prompt is about, counts of
hashed words (Weinberger et al. 2009) how it is put, the layout whether it is code, mathematics or multiple choice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]

VECTOR = 384
BUCKETS = 512
MOST_CHARS = 4000  # of a prompt: what follows says little more
FAMILIAR_SHARE = 0.98  # of the texts that it was trained on, each seen as if it were new
_LAYOUT_WEIGHT = 0.25
_ROUNDING = 0.01  # of a squared distance, by weights in half precision
_SPARE = 16  # directions beside those that are wanted, so that these converge
_TOKEN = re.compile(r"[a-z]+|\d|[^\sa-z\d]")


@dataclass(frozen=True, slots=True)
class Predictor:
    """Trained weights. n: the models, d: components, l: landmarks."""

    center: Numbers  # (384 + BUCKETS + layout,)
    scale: Numbers  # of each of them
    components: Numbers  # (384 + BUCKETS + layout, d)
    landmarks: Numbers  # (l, d)
    weights: Numbers  # (l, n)
    means: Numbers  # (n,)
    width: float  # of the kernel
    reach: float  # the squared distance from the landmarks beyond which a text is unlike those that it was trained on

    def predict(self, text: str, embedding: Numbers) -> "Prediction":
        """Of one text. `embedding` (384,), unit length."""
        return self.predict_features(raw_features([text], embedding[np.newaxis, :]))

    def predict_features(self, features: Numbers) -> "Prediction":
        """Of `raw_features`."""
        scaled = (features - self.center) * self.scale
        reduced = scaled @ self.components
        squares = distances(reduced, self.landmarks)
        qualities = np.exp(-self.width * squares) @ self.weights + self.means
        novel = squares.min(axis=1) + _left_over(scaled, reduced) > self.reach
        return Prediction(qualities.astype(np.float64), novel, int(self.means.argmax()))

    def arrays(self) -> dict[str, Numbers]:
        """For a file."""
        return {name: np.asarray(getattr(self, name), np.float32) for name in (*_ARRAYS, *_SCALARS)}

    @classmethod
    def of(cls, arrays: Mapping[str, Numbers]) -> Self:
        read = {name: np.asarray(arrays[name], np.float32) for name in _ARRAYS}
        return cls(**read, width=float(arrays["width"]), reach=float(arrays["reach"]))


_ARRAYS = ("center", "scale", "components", "landmarks", "weights", "means")
_SCALARS = ("width", "reach")


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well each of n models answers some texts."""

    qualities: NDArray[np.float64]  # (texts, n), of the scale that the predictor was trained on
    novel: NDArray[np.bool_]  # (texts,): unlike all that it was trained on, so that the qualities mean little
    safest: int  # the model that was best on average

    @property
    def worths(self) -> NDArray[np.float64]:
        """(texts, n): the qualities; of a novel text the safest model is worth any price."""
        worths = self.qualities.copy()
        worths[self.novel, self.safest] = np.inf
        return worths


@dataclass(frozen=True, slots=True)
class Shape:
    """What is chosen before training."""

    components: int = 64
    landmarks: int = 256
    ridge: float = 3.0
    width: float = 0.5


SHAPE = Shape()


def train(
    features: Numbers, qualities: NDArray[np.float64], order: NDArray[np.intp], shape: Shape = SHAPE
) -> Predictor:
    """A predictor of `qualities` (texts, n), 0 to 1, from `raw_features`; NaN where nobody knows, but some of each
    column is known. `order`: a permutation of the texts, whose first are landmarks.
    """
    raw = features.astype(np.float64)
    center, scale = raw.mean(axis=0), _scale(raw)
    scaled = (raw - center) * scale
    components = _principal(scaled, scaled[order[: shape.components + _SPARE]].T, shape.components)
    reduced, marked = scaled @ components, order[: shape.landmarks]
    landmarks, means = reduced[marked], np.nanmean(qualities, axis=0)
    squares = distances(reduced, landmarks)
    near = np.exp(-shape.width * squares)
    weights = _ridge(near, qualities - means, shape.ridge * near[marked] + 1e-3 * np.eye(len(landmarks)))
    squares[marked, np.arange(len(marked))] = np.inf  # a landmark seen as if it were new
    reach = np.quantile(squares.min(axis=1) + _left_over(scaled, reduced), FAMILIAR_SHARE, method="lower") + _ROUNDING
    arrays = (center, scale, components, landmarks, weights, means, np.array(shape.width), np.array(reach))
    return Predictor.of(dict(zip((*_ARRAYS, *_SCALARS), (a.astype(np.float32) for a in arrays), strict=True)))


def _left_over(scaled: NDArray[np.floating], reduced: NDArray[np.floating]) -> NDArray[np.floating]:
    """(texts,): the squared length that no component tells."""
    over: NDArray[np.floating] = np.maximum((scaled**2).sum(axis=1) - (reduced**2).sum(axis=1), 0.0)
    return over


def _scale(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """(columns,). A layout that all texts share tells nothing: its weight is 0, not the greatest."""
    scale, layout = np.ones(raw.shape[1]), slice(VECTOR + BUCKETS, None)
    spread = raw[:, layout].std(axis=0)
    scale[layout] = np.where(spread > 1e-9, _LAYOUT_WEIGHT / (spread + 1e-6), 0.0)
    return scale


def _ridge(
    near: NDArray[np.floating], wanted: NDArray[np.float64], penalty: NDArray[np.floating]
) -> NDArray[np.floating]:
    """(landmarks, n): each column from the rows where it is known."""
    known = ~np.isnan(wanted)
    if known.all():
        whole: NDArray[np.floating] = np.linalg.solve(near.T @ near + penalty, near.T @ wanted)
        return whole
    columns = [_ridge(near[rows], wanted[rows, n, None], penalty) for n, rows in enumerate(known.T)]
    return np.hstack(columns)


def _principal(rows: NDArray[np.float64], start: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(columns, count): the directions in which the rows differ most, by subspace iteration from `start`.

    Halko, Martinsson and Tropp 2011, algorithm 4.4. A full decomposition costs ten times as much.
    """
    basis = start
    for _ in range(4):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    within = rows @ basis
    _, turns = np.linalg.eigh(within.T @ within)
    found: NDArray[np.float64] = basis @ turns[:, ::-1][:, :count]
    return found


def distances(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.floating]:
    """(left, right): squared."""
    squares: NDArray[np.floating] = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    positive: NDArray[np.floating] = np.maximum(squares, 0.0)
    return positive


def raw_features(texts: Sequence[str], embeddings: Numbers) -> Numbers:
    """(texts, 384 + BUCKETS + layout)."""
    words = np.stack([_hashed(text[:MOST_CHARS].lower()) for text in texts])
    layout = np.array([_layout(text[:MOST_CHARS]) for text in texts], np.float32)
    return np.hstack([embeddings, words, layout]).astype(np.float32, copy=False)


def _hashed(text: str) -> Numbers:
    """Root counts of words and pairs of words in buckets, unit length."""
    tokens = _TOKEN.findall(text)
    names = [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]
    buckets = np.fromiter((crc32(name.encode()) % BUCKETS for name in names), np.intp, len(names))
    counts = np.sqrt(np.bincount(buckets, minlength=BUCKETS)).astype(np.float32)
    length = np.linalg.norm(counts)
    return counts / length if length else counts


def _layout(text: str) -> tuple[float, ...]:
    size = max(1, len(text))
    return (
        float(np.log1p(len(text))),
        float(np.log1p(len(text.split()))),
        sum(c.isdigit() for c in text) / size,
        sum(c.isupper() for c in text) / size,
        text.count("\n") / size,
        text.count("\\") / size,
        text.count("$") / size,
        float("def " in text or "```" in text),
        float(bool(re.search(r"^\(?A[.)]", text, re.MULTILINE))),
        float(text.rstrip().endswith("?")),
    )
