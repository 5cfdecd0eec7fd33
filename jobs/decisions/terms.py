"""The words of a text by which it is found, and how well they match a question's (BM25)."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import log

import numpy as np
from numpy.typing import NDArray

# Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", section 3.5: k1 1.2 to 2, b 0.5 to 0.8.
K1 = 1.2
B = 0.75

SHORTEST_STEM = 3

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:_+[^\W_{_CJK}]+)*")
_PART_END = re.compile(r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # in snake_case and camelCase
_CJK_RUN = re.compile(rf"[{_CJK}]{{2,}}")
_STOP_WORDS = frozenset(
    """
    a about all also am an and any are as at be been being between both but by can could did do does don each for
    from had has have he her his how i if in into is it its just may might more most must my no not of on only or
    other our own s same shall she should so some such t than that the their them then there these they this those
    to us use used using very was we were what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a hundred quoted words would be harder to read
)
_SUFFIX = re.compile(r"(?<=\w{3})(?:(?P<y>ies|ied)|ations?|ments?|(?P<verb>ing|ings|ed|ers?)|es|s|ly)$")


def terms(text: str) -> tuple[str, ...]:
    """Stems without stop words, in order. Names in code also give their parts; Chinese, Japanese, Korean give pairs."""
    return tuple(chain.from_iterable(map(_terms_of, _WORD.findall(text))))


def names(text: str) -> frozenset[str]:
    """The terms of words that do not begin with a small letter: names, numbers, what begins a sentence. In a script
    without capitals all of them.
    """
    return frozenset(chain.from_iterable(_terms_of(word) for word in _WORD.findall(text) if not word[0].islower()))


def term_shares(word_shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of words, by the terms that find them; a name in code by itself, not by its parts."""
    shares: dict[str, float] = {}
    for word, share in word_shares.items():
        for term in terms(word)[:1]:
            shares[term] = max(share, shares.get(term, 0.0))
    return shares


UNCOUNTED: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Bm25:
    """Scores texts of one collection against a question."""

    weights: dict[str, float]  # of the question's terms
    mean_length: float

    @classmethod
    def over(
        cls, question: Iterable[str], texts: Sequence[Sequence[str]], shares: Mapping[str, float] = UNCOUNTED
    ) -> "Bm25":
        """`shares`, above 0: of a larger collection, for the terms that were counted there."""
        found = Counter(chain.from_iterable(map(set, texts)))
        count = len(texts)
        weights = {
            term: -log(shares[term]) if term in shares else log(1 + (count - found[term] + 0.5) / (found[term] + 0.5))
            for term in dict.fromkeys(question)
        }
        return cls(weights, max(1.0, sum(map(len, texts)) / max(1, count)))

    def score(self, text: Sequence[str]) -> float:
        """0 where no term of the question stands in the text."""
        counts = Counter(filter(self.weights.__contains__, text))
        norm = K1 * (1 - B + B * len(text) / self.mean_length)
        return sum(self.weights[term] * n * (K1 + 1) / (n + norm) for term, n in counts.items())


def likeness(texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """How alike any two of the texts are, (n, n), 0 to 1: the cosine of their TF-IDF vectors."""
    found = Counter(chain.from_iterable(map(set, texts)))
    places = {term: place for place, term in enumerate(found)}
    rarity = {term: log(1 + len(texts) / count) for term, count in found.items()}
    vectors = np.zeros((len(texts), len(places)))
    for row, text in enumerate(texts):
        for term, count in Counter(text).items():
            vectors[row, places[term]] = (1 + log(count)) * rarity[term]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(float).tiny)
    alike: NDArray[np.float64] = np.clip(vectors @ vectors.T, 0.0, 1.0)
    return alike


@lru_cache(maxsize=1 << 15)  # texts repeat their words: ranking takes a quarter of the time
def _terms_of(word: str) -> tuple[str, ...]:
    if _CJK_RUN.fullmatch(word):
        return tuple(word[place : place + 2] for place in range(len(word) - 1))
    whole = word.casefold()
    parts = [part.casefold() for part in _PART_END.split(word)]
    names = [whole] if len(parts) < 2 else [whole, *parts]
    return tuple(_stem(name) for name in names if name not in _STOP_WORDS)


def _stem(word: str) -> str:
    """A light stemmer: what it conflates, it conflates in the question and in the text alike."""
    found = _SUFFIX.search(word)
    stem = word[: found.start()] if found else word
    if found and found["y"]:
        return f"{stem}y"
    if found and found["verb"] and stem[-1] == stem[-2] and stem[-1] not in "lsz":
        return stem[:-1]
    return stem.removesuffix("e") if len(stem) > SHORTEST_STEM else stem
