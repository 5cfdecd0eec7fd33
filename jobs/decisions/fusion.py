"""Two rankings of chunks, by meaning and by words, made into one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.decisions.differing import differ
from jobs.decisions.terms import UNCOUNTED, Bm25, likeness, term_shares, terms

# Weighted min-max fusion of cosine similarity and of BM25 over the candidates (Bruch, Gai and Ingber 2023, "An Analysis
# of Fusion Functions for Hybrid Retrieval": convex sums beat RRF). Measured with 30 candidates from each search, by
# all-MiniLM-L6-v2, Postgres 18's ts_rank_cd; nDCG@10 on Cranfield (90 queries) and CISI (26), and for how many of 17
# questions to 187 pages of documentation the right page is among the first five pages:
#
#   cosine alone                     .372   .379   16
#   ts_rank_cd alone                 .274   .196    9
#   RRF (k = 60)                     .354   .330   12
#   min-max with ts_rank_cd, .3      .375   .376   15
#   min-max with BM25, .35           .394   .393   16
#
# With BM25's own ranking in its place RRF does as well (docs/quality.md, other queries), so it is BM25 that gains here.
# ts_rank_cd knows no document frequencies, so that with any of the words a chunk full of common ones comes first. It is
# good at finding candidates; BM25 then scores them, at a weight between .25 and .4 about equally well.
WORDS_WEIGHT = 0.35

# A passage is worth more where the passages most like it are worth more (Diaz 2007, "Regularizing query-based retrieval
# scores"), by this share of the difference. None is worth less for them: an answer that stands in one place alone has
# none like it. Those of its own document do not count, they are like it anyway. docs/quality.md says what it is worth.
MOST_ALIKE = 5
LIFT = 0.4

# What a further passage of a document counts, times the one before it. The right page is among the first five passages
# for 15 of the 17 questions instead of 14, and eight passages come from 4.6 pages instead of 3.6.
REPEAT_FACTOR = 0.9

# Two texts repeat each other where they share most of their runs of three words (Broder 1997, "On the resemblance and
# containment of documents"), unless a number, a name or a negation says otherwise: versions of a page often differ in
# nothing else. Fewer runs are too few to tell.
_RUN = 3
_FEWEST_RUNS = 10
_ALIKE = 0.8

_SHORTEST_OVERLAP = 20  # characters; less is chance

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Retrieving:
    """What an answer takes from documents."""

    candidates: int = 30  # chunks from each of the two searches
    passages: int = 8  # of them, in the prompt
    words_weight: float = WORDS_WEIGHT  # 0 to 1


RETRIEVING = Retrieving()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that retrieval found by its vector, by its words, or by both."""

    chunk_id: int
    document_id: str
    ordinal: int  # its place in the document
    title: str
    source: str | None
    heading_path: tuple[str, ...]
    content: str
    tokens: int
    similarity: float | None  # cosine, -1 to 1; None: its vector is another model's
    text_rank: float | None  # Postgres' ts_rank_cd
    vector_position: int | None  # from 1; None: not among the nearest
    text_position: int | None
    unit_similarities: tuple[float, ...] = ()  # of its units, cosines in their order; none: they are not embedded
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranked:
    candidate: Candidate
    score: float  # 0 to 1
    content: str  # the candidate's, without what it shares with a neighbour that is ranked above it


def fuse(
    candidates: Sequence[Candidate],
    *,
    question: str,
    limit: int,
    word_shares: Mapping[str, float] = UNCOUNTED,
    words_weight: float = WORDS_WEIGHT,
) -> tuple[Ranked, ...]:
    """The best passages, best first, from several documents; what a passage above says already is left out.

    `word_shares`: of the question's words, the share of all chunks that hold each. `words_weight`: of the match of
    words, 0 to 1; the rest is the weight of meaning.
    """
    chosen: list[Ranked] = []
    from_document: Counter[str] = Counter()
    in_order = sorted(candidates, key=lambda candidate: candidate.chunk_id)
    left = list(zip(in_order, _scores(in_order, question, word_shares, words_weight).tolist(), strict=True))
    while left and len(chosen) < limit:
        worth = [score * REPEAT_FACTOR ** from_document[c.document_id] for c, score in left]
        candidate, score = left.pop(worth.index(max(worth)))
        content = without_repeats(candidate, chosen)
        if content:
            chosen.append(Ranked(candidate, score, content))
            from_document[candidate.document_id] += 1
    return tuple(chosen)


def _scores(
    candidates: Sequence[Candidate], question: str, word_shares: Mapping[str, float], words_weight: float
) -> Floats:
    texts = [terms(" ".join((c.title, *c.heading_path, c.content))) for c in candidates]
    bm25 = Bm25.over(terms(question), texts, term_shares(word_shares))
    by_meaning = np.array(spread([c.similarity for c in candidates]))
    by_words = np.array(spread([bm25.score(text) for text in texts]))
    fused = (1 - words_weight) * by_meaning + words_weight * by_words
    return _lifted(fused, candidates, likeness(texts))


def _lifted(scores: Floats, candidates: Sequence[Candidate], like: Floats) -> Floats:
    """The scores, those lifted that are below the mean of the passages of other documents that are most like each."""
    documents = np.array([c.document_id for c in candidates])
    like = np.where(documents[:, None] == documents, 0.0, like)
    nearest = np.argsort(-like, axis=1, kind="stable")[:, :MOST_ALIKE]
    weights = np.take_along_axis(like, nearest, axis=1)
    heard = weights.sum(axis=1)
    means = (weights * scores[nearest]).sum(axis=1) / np.where(heard > 0, heard, 1.0)
    lifted: Floats = scores + LIFT * np.maximum(0.0, means - scores)
    return lifted


def spread(scores: Sequence[float | None]) -> list[float]:
    """The scores between 0, the least of them, and 1, the best; an unknown one lies at 0, and equal ones at 1."""
    known = [score for score in scores if score is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if low == high:
        return [0.0 if score is None else 1.0 for score in scores]
    return [0.0 if score is None else (score - low) / (high - low) for score in scores]


def without_repeats(candidate: Candidate, above: Sequence[Ranked]) -> str:
    """The content without its overlap with neighbours above it; empty where a passage above says all of it."""
    content = candidate.content
    for other in (ranked.candidate for ranked in above):
        if content.strip() in other.content or alike(candidate.content, other.content):
            return ""
        if other.document_id == candidate.document_id and other.ordinal == candidate.ordinal - 1:
            content = content[_overlap(other.content, content) :].lstrip("\n ")
        elif other.document_id == candidate.document_id and other.ordinal == candidate.ordinal + 1:
            content = content[: len(content) - _overlap(content, other.content)].rstrip()
    return content


def alike(one: str, other: str) -> bool:
    """Whether the two say the same in nearly the same words."""
    runs, others = _runs(one), _runs(other)
    if min(len(runs), len(others)) < max(_FEWEST_RUNS, _ALIKE * max(len(runs), len(others))):
        return False
    return len(runs & others) >= _ALIKE * len(runs | others) and not differ(one, other)


@lru_cache(maxsize=256)  # each passage is compared with those above it
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = terms(text)
    return frozenset(zip(*(words[start:] for start in range(_RUN)), strict=False))


def _overlap(before: str, after: str) -> int:
    """How many characters at the end of one chunk are repeated at the start of the next."""
    longest = min(len(before), len(after))
    return next((size for size in range(longest, _SHORTEST_OVERLAP - 1, -1) if before.endswith(after[:size])), 0)
