"""Sentence vectors by all-MiniLM-L6-v2, in numpy.

Texts are packed: their word pieces lie one after another in one matrix without padding, shortest text first, and only
attention looks at texts one by one (all of one length at a time). So there is no mask, and a batch costs what its words
cost.

The model: Devlin et al. 2019 (BERT), Reimers and Gurevych 2019 (mean pooling), and the model card of
sentence-transformers/all-MiniLM-L6-v2.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from worker.local.model_server.weights import HEAD_WIDTH, HEADS, PANEL, WIDTH, Dense, Floats, Layer, Norm, Weights

# √2 and the half of `gelu_in_place` are folded in.
_ERF_P = np.float32(0.3275911 / 2**0.5)
_HALF_ERF_A = tuple(np.float32(a / 2) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
_GELU_ROWS = 16  # a block's four scratch arrays stay in a core's second-level cache
_NORM_EPSILON = np.float32(1e-12)
_ONE, _HALF = np.float32(1), np.float32(0.5)


def embed(weights: Weights, texts: Sequence[Sequence[int]]) -> Floats:
    """`(n, 384) float32, unit length`: a row per text. A text is its word pieces, [CLS] and [SEP] among them; n >= 1.

    The memory needed grows with the word pieces of the whole call: some hundreds of them make a good batch.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    lengths = [len(texts[index]) for index in order]
    pieces = np.concatenate([np.asarray(texts[index], dtype=np.intp) for index in order])
    positions = np.concatenate([np.arange(length) for length in lengths])

    x = weights.words[pieces]
    x += weights.positions[positions]
    _normalize(x, weights.norm)
    for layer in weights.layers:
        _block(x, layer, lengths)

    sums = np.add.reduceat(x, np.cumsum([0, *lengths[:-1]]), axis=0)
    # The mean over the pieces would be scaled to unit length at once, and so may the sum.
    sums /= np.sqrt(np.einsum("ij,ij->i", sums, sums))[:, None]
    vectors = np.empty_like(sums)
    vectors[order] = sums
    return vectors


def gelu_in_place(x: Floats) -> None:
    """GELU, x Φ(x), of every element of a matrix of contiguous rows.

    erf is formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions (1964): absolute error <= 1.5e-7
    in exact arithmetic; measured for GELU in float32: 3.4e-7. With q = Φ(-|x|) = erfc(|x| / √2) / 2 the result is
    max(x, 0) - |x| q, which needs no branch on the sign.
    """
    size, t, q = (np.empty_like(x[:_GELU_ROWS]) for _ in range(3))
    for start in range(0, len(x), _GELU_ROWS):
        block = x[start : start + _GELU_ROWS]
        rows = len(block)
        _gelu_block(block, size[:rows], t[:rows], q[:rows])


def _gelu_block(x: Floats, size: Floats, t: Floats, q: Floats) -> None:
    np.abs(x, out=size)
    np.multiply(size, _ERF_P, out=t)
    t += _ONE
    np.divide(_ONE, t, out=t)
    np.multiply(t, _HALF_ERF_A[-1], out=q)
    for a in reversed(_HALF_ERF_A[:-1]):
        q += a
        q *= t
    q *= size
    np.multiply(size, size, out=t)
    t *= -_HALF
    q *= np.exp(t, out=t)
    np.maximum(x, 0, out=x)
    x -= q


def _block(x: Floats, layer: Layer, lengths: Sequence[int]) -> None:
    """One transformer block, in place."""
    x += _apply(layer.attended, _attention(_apply(layer.qkv, x), lengths))
    _normalize(x, layer.attended_norm)
    hidden = _apply(layer.up, x)
    gelu_in_place(hidden)
    x += _apply(layer.down, hidden)
    _normalize(x, layer.norm)


def _attention(qkv: Floats, lengths: Sequence[int]) -> Floats:
    """Each text attends to itself: `(pieces, 3 * 384)` to `(pieces, 384)`."""
    out = np.empty((len(qkv), WIDTH), np.float32)
    for rows, texts, length in _runs(lengths):
        heads = qkv[rows].reshape(texts, length, 3, HEADS, HEAD_WIDTH).transpose(2, 0, 3, 1, 4)
        queries, keys, values = heads
        scores = queries @ keys.swapaxes(-1, -2)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        np.matmul(scores, values, out=out[rows].reshape(texts, length, HEADS, HEAD_WIDTH).transpose(0, 2, 1, 3))
    return out


def _runs(lengths: Sequence[int]) -> Iterator[tuple[slice, int, int]]:
    """(rows, texts, length) for every run of texts of one length."""
    start = 0
    for length, run in groupby(lengths):
        texts = sum(1 for _ in run)
        yield slice(start, start + texts * length), texts, length
        start += texts * length


def _apply(dense: Dense, x: Floats) -> Floats:
    panels = len(dense.panels)
    out = np.empty((len(x), panels * PANEL), np.float32)
    np.matmul(x, dense.panels, out=out.reshape(len(x), panels, PANEL).transpose(1, 0, 2))
    out += dense.bias
    return out


def _normalize(x: Floats, norm: Norm) -> None:
    """Each row to mean 0 and variance 1, then scaled and shifted, in place."""
    x -= x.mean(axis=-1, keepdims=True)
    variance = np.einsum("ij,ij->i", x, x)
    variance /= np.float32(WIDTH)
    variance += _NORM_EPSILON
    x /= np.sqrt(variance, out=variance)[:, None]
    x *= norm.scale
    x += norm.shift
