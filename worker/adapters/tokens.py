"""Tokens as OpenAI's models count them (o200k_base), by the vocabulary in this repository: no network, no cache."""

import gzip
import hashlib
import re
from binascii import a2b_base64
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tiktoken

VOCABULARY = Path(__file__).parent.parent / "weights" / "o200k_base.tiktoken.gz"
SHA256 = (
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"  # unpacked, as in tiktoken_ext/openai_public.py
)

# From tiktoken_ext/openai_public.py (0.14). Built here, since the function there fetches its vocabulary by URL.
_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
_SPECIAL = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

# tiktoken's regular expression overflows its stack on a million spaces, and panics with a BaseException that no
# `except Exception` would catch. So long texts are counted in pieces.
_PIECE = 50_000
_WORD_START = re.compile(r"(?<=\S) ")


class VocabularyDamagedError(Exception):
    """The vocabulary is not the file that we know."""


def count_tokens(text: str) -> int:
    """Tokens of a text. Special tokens in it are plain text. The first call loads the vocabulary (0.3 s)."""
    encoding = _encoding()
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """The text cut where a space follows a word: there a token begins anyway, so the count stays exact.

    A run without such a place is cut where it is too long, which may add a token or two.
    """
    start = 0
    while len(text) - start > 2 * _PIECE:
        word = _WORD_START.search(text, start + _PIECE, start + 2 * _PIECE)
        end = word.start() if word else start + 2 * _PIECE
        yield text[start:end]
        start = end
    yield text[start:]


@cache
def _encoding() -> tiktoken.Encoding:
    unpacked = gzip.decompress(VOCABULARY.read_bytes())
    if hashlib.sha256(unpacked).hexdigest() != SHA256:
        raise VocabularyDamagedError(f"{VOCABULARY} is damaged: take the file from the repository again")
    fields = unpacked.split()
    ranks = dict(zip(map(a2b_base64, fields[::2]), map(int, fields[1::2]), strict=True))
    return tiktoken.Encoding("o200k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=_SPECIAL)
