import gzip
import hashlib
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # it ships no types

from worker.adapters import tokens
from worker.adapters.tokens import VOCABULARY, VocabularyDamagedError, count_tokens

URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
TEXTS = st.text(max_size=60) | st.text(alphabet="aB 1\n\t.'s!/é中🙂", max_size=80)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """tiktoken's own o200k_base, which finds the repository's vocabulary where it would have downloaded it."""
    cache = tmp_path_factory.mktemp("tiktoken")
    name = hashlib.sha1(URL.encode(), usedforsecurity=False).hexdigest()
    (cache / name).write_bytes(gzip.decompress(VOCABULARY.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return tiktoken.Encoding(**openai_public.o200k_base())


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_tokens_are_counted_as_tiktoken_counts_them(reference: tiktoken.Encoding, text: str) -> None:
    assert count_tokens(text) == len(reference.encode_ordinary(text))


def test_a_long_text_is_counted_exactly_though_in_pieces(reference: tiktoken.Encoding) -> None:
    text = "The lease's length, 15 s, isn't long:\n\n    renew(it)\n" * 5000
    assert count_tokens(text) == len(reference.encode_ordinary(text))


def test_special_tokens_of_a_user_are_plain_text() -> None:
    assert count_tokens("<|endoftext|>") > 1


@pytest.mark.parametrize("character", [" ", "\n", "a", "é"])
def test_a_million_equal_characters_are_counted(character: str) -> None:
    assert 0 < count_tokens(character * 1_000_000) <= 1_000_000


def test_a_damaged_vocabulary_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "o200k_base.tiktoken.gz"
    damaged.write_bytes(gzip.compress(b"IQ== 0\n"))
    monkeypatch.setattr(tokens, "VOCABULARY", damaged)
    tokens._encoding.cache_clear()
    with pytest.raises(VocabularyDamagedError):
        count_tokens("text")
