"""Which excerpts answer a question: words in common, weighted by how rare they are among the passages.

The weights below were tuned on three public sets at once: 320 questions of XQuAD, 150 of NQ with look-alike passages,
and 17 FAQ questions about documentation, each with the eight passages that MiniLM finds first.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from worker.local.model_server.excerpts import Excerpt, excerpts
from worker.local.model_server.passages import Inquiry, Passage
from worker.local.model_server.terms import terms

EARLIER_WEIGHT = 0.3  # of a word that only the previous question has, for a follow-up that leaves it out
CONTEXT_WEIGHT = 0.75  # of a word that the title or a heading has, but not the excerpt
PASSAGE_WEIGHT = 1.3  # of what the whole passage covers, beside what the excerpt does
ORDER_WEIGHT = 0.65  # of the place among the passages, which says what the retriever thought
DEFINITION_WEIGHT = 0.4  # of a sentence that says what one of the question's words is: "Lists are …"
LONG_TERMS = 80

_DEFINITION = re.compile(r"\W*(?P<subject>\w+(?: \w+)?) (?:is|are|was|were|stands? for)\b")
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)|https?://\S+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An excerpt that may be quoted.

    `coverage` is the weighted share of the question that it holds together with its headings, `reach` the plain share
    of the question's words that its passage holds; both 0 to 1. `score` compares candidates, its size means nothing.
    """

    passage: Passage
    position: int
    excerpt: Excerpt
    terms: frozenset[str]
    coverage: float
    reach: float
    score: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The question's terms: what finding each is worth (the sum is 1), and how much it counts as a word (1 or less)."""

    worth: Mapping[str, float]
    factors: Mapping[str, float]
    words: float

    def share(self, held: AbstractSet[str]) -> float:
        return sum(worth for term, worth in self.worth.items() if term in held)

    def is_defined_by(self, text: str) -> bool:
        definition = _DEFINITION.match(text)
        return definition is not None and any(term in self.worth for term in terms(definition["subject"]))

    def reach(self, held: AbstractSet[str]) -> float:
        return min(1.0, sum(factor for term, factor in self.factors.items() if term in held) / self.words)


@dataclass(frozen=True, slots=True)
class _Content:
    passage: Passage
    excerpts: tuple[Excerpt, ...]
    terms: tuple[tuple[str, ...], ...]  # of each excerpt
    about: frozenset[str]  # the terms of title and path


def rank(inquiry: Inquiry) -> tuple[Candidate, ...]:
    """The excerpts that share a word with the question, best first."""
    contents = [_read(passage) for passage in inquiry.passages]
    wanted = _weigh(inquiry, [bag for content in contents for bag in content.terms])
    found = [candidate for order, content in enumerate(contents) for candidate in _candidates(wanted, content, order)]
    return tuple(sorted(found, key=lambda candidate: -candidate.score))


def _read(passage: Passage) -> _Content:
    found = excerpts(passage.text)
    return _Content(
        passage=passage,
        excerpts=found,
        terms=tuple(tuple(terms(_LINK_TARGET.sub("]", excerpt.text))) for excerpt in found),
        about=frozenset(terms(f"{passage.title} {passage.path}")),
    )


def _weigh(inquiry: Inquiry, bags: Sequence[Sequence[str]]) -> _Wanted:
    """BM25's inverse frequency (Robertson and Zaragoza 2009, section 3.2), with excerpts as documents."""
    frequency = Counter(term for bag in bags for term in set(bag))
    own = dict.fromkeys(terms(inquiry.question), 1.0)
    factors = dict.fromkeys(terms(inquiry.earlier), EARLIER_WEIGHT) | own
    worth = {
        term: factor * math.log(1 + (len(bags) - frequency[term] + 0.5) / (frequency[term] + 0.5))
        for term, factor in factors.items()
    }
    total = sum(worth.values()) or 1.0
    words = float(len(own)) or sum(factors.values()) or 1.0
    return _Wanted({term: value / total for term, value in worth.items()}, factors, words)


def _candidates(wanted: _Wanted, content: _Content, order: int) -> list[Candidate]:
    everything = content.about.union(*content.terms)
    reach = wanted.reach(everything)
    prior = ORDER_WEIGHT / (1 + order) + PASSAGE_WEIGHT * wanted.share(everything)
    found = []
    for position, (excerpt, bag) in enumerate(zip(content.excerpts, content.terms, strict=True)):
        held = frozenset(bag)
        own = wanted.share(held)
        if own == 0.0:
            continue
        context = content.about | frozenset(terms(excerpt.heading))
        coverage = own + CONTEXT_WEIGHT * wanted.share(context - held)
        defining = DEFINITION_WEIGHT if wanted.is_defined_by(excerpt.text) else 0.0
        score = (coverage + prior) / max(1.0, len(bag) / LONG_TERMS) + defining
        found.append(Candidate(content.passage, position, excerpt, held, coverage, reach, score))
    return found
