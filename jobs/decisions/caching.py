"""Whether an answer that was given before answers this question.

Exact: question, passages, examples, prompt file, route and limits are the same, so the model would be asked the same.
Similar: the questions mean the same with a high probability, neither names a number, a name or a negation that the
other does not, each finds what the other's prompt holds, and no example of somebody else's was in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from math import exp, log
from typing import Any, Literal

from jobs.decisions.compression import Passage
from jobs.decisions.differing import differ
from jobs.decisions.terms import terms

Mode = Literal["off", "exact", "semantic"]

# A logistic regression over pairs of questions, trained on half of medical_question_pairs by
# `python bench/semantic_cache.py --fit`; docs/quality.md reports the other half. A prior: other questions differ.
INTERCEPT = -7.249
WEIGHTS = {"cosine": 2.422, "cosine_squared": 7.976, "shared": -0.834, "length": 0.599}


@dataclass(frozen=True, slots=True)
class Caching:
    """What may be given again. `min_probability`: that two questions ask the same, 0 to 1."""

    mode: Mode = "off"
    min_probability: float = 0.9
    ttl_s: float = 86_400.0
    stale_s: float = 604_800.0  # after ttl_s: given only where the models failed


OFF = Caching()


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer to a question of the same tenant and scope, all of whose passages the asker may read today."""

    id: int
    key: str
    question: str
    answer: str
    citations: tuple[Mapping[str, Any], ...]
    similarity: float  # of the questions, cosine, -1 to 1
    age_s: float
    is_fresh: bool
    chunk_ids: frozenset[int]  # in its prompt
    seen_chunk_ids: frozenset[int]  # found for its question, in its prompt or not
    is_private: bool = False  # its prompt held examples that the asker may not see
    tokens_in: int | None = None  # what it took
    tokens_out: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reuse:
    """A cached answer that answers the question."""

    cached: CachedAnswer
    how: Literal["exact", "similar"]

    @property
    def remark(self) -> str:
        """What the asker should know."""
        age = "fresh" if self.cached.is_fresh else "stale"
        how = "the same question" if self.how == "exact" else "a question like it"
        return f"answer.cached: {age}, given {_ago(self.cached.age_s)} ago to {how}"


def scope_of(*parts: object) -> str:
    """16 hex digits: answers are shared only where all these parts are alike."""
    return sha256(dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def question_key(scope: str, question: str, passages: Sequence[Passage], examples: Sequence[tuple[str, str]]) -> str:
    """What is the same exactly where the model would be asked the same, but for case and spaces of the question."""
    texts = [(passage.chunk_id, passage.title, passage.heading_path, passage.text) for passage in passages]
    return sha256(dumps((scope, normalised(question), texts, examples)).encode("utf-8", "surrogatepass")).hexdigest()


def normalised(question: str) -> str:
    return " ".join(question.casefold().split())


def choose_reuse(
    cached: Sequence[CachedAnswer],
    question: str,
    key: str,
    passages: Sequence[Passage],
    found: frozenset[int],
    caching: Caching,
    *,
    may_be_stale: bool = False,
) -> Reuse | None:
    """The answer to give again; None: there is none. An exact one goes before similar ones, those by probability.

    `found`: the chunks that the question finds today, under its filter, those of `passages` among them. A stale answer
    may be unaware of what has been added since, and never tells what the filter leaves out.
    """
    if caching.mode == "off":
        return None
    fresh_enough = [entry for entry in cached if entry.is_fresh or may_be_stale]
    for entry in fresh_enough:
        if entry.key == key:
            return Reuse(entry, "exact")
    if caching.mode == "exact":
        return None
    shown = {passage.chunk_id for passage in passages}
    similar = [
        (probability, entry)
        for entry in fresh_enough
        if not entry.is_private
        and entry.chunk_ids <= found
        and (may_be_stale or shown <= entry.seen_chunk_ids)
        and not differ(question, entry.question)
        and (probability := same_probability(question, entry.question, entry.similarity)) >= caching.min_probability
    ]
    return Reuse(max(similar, key=lambda pair: pair[0])[1], "similar") if similar else None


def same_probability(question: str, other: str, cosine: float) -> float:
    """That the two ask the same, 0 to 1; the same in both directions."""
    if normalised(question) == normalised(other):
        return 1.0
    features = pair_features(question, other, cosine)
    return 1 / (1 + exp(-INTERCEPT - sum(weight * features[name] for name, weight in WEIGHTS.items())))


def pair_features(question: str, other: str, cosine: float) -> dict[str, float]:
    one, two = set(terms(question)), set(terms(other))
    shared = len(one & two) / len(one | two) if one | two else 0.0
    return {
        "cosine": cosine,
        "cosine_squared": cosine * cosine,
        "shared": shared,
        "length": log(1 + len(one) + len(two)),
    }


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
