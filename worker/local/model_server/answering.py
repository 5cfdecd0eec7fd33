"""An answer made of excerpts of the passages, each followed by the number of the passage that it stands in."""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

from worker.local.model_server.passages import Inquiry
from worker.local.model_server.relevance import Candidate, rank

MOST_EXCERPTS = 5  # and so the most passages that an answer cites
MOST_CHARS = 1600
LEAST_REACH = 0.4  # of the question's words in one passage: below it, nothing is known
NEAR_DUPLICATE = 0.7  # Jaccard similarity of terms

SIGNATURE = "— rowcall-local, an extractive model: it quotes what it was given and writes nothing of its own."
UNKNOWN = "I do not know: the passages do not answer this question."

# Quoted as they stand, `[2]` and `[1, 3]` would read as citations, except in code.
_LOOKS_LIKE_A_CITATION = re.compile(r"\[\d+(?:\s*[,;]\s*\d+)*\]")
_FENCED = re.compile(r"^[ \t]*(?P<fence>```+|~~~+).*?^[ \t]*(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)


def answer(inquiry: Inquiry) -> str:
    """Markdown that cites at most five passages as `[id]`, or says that it does not know. Deterministic."""
    chosen = choose(rank(inquiry))
    return f"{_written(chosen) if chosen else UNKNOWN}\n\n{SIGNATURE}"


def choose(ranked: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """What to quote, the best passage first. Empty where no passage has enough in common with the question."""
    pool = [candidate for candidate in ranked if _is_quotable(candidate)]
    if not pool or max(candidate.reach for candidate in pool) < LEAST_REACH:
        return ()
    # The better the best excerpt covers the question, the closer must others come to it, and the less does the answer
    # spread over pages: when unsure, several pages have a chance.
    confidence = min(1.0, pool[0].coverage)
    least_score = pool[0].score * (0.35 + 0.2 * confidence)
    chosen: list[Candidate] = []
    while pool and len(chosen) < MOST_EXCERPTS:
        best = max(pool, key=lambda candidate: _appeal(candidate, chosen, confidence))
        if _appeal(best, chosen, confidence) < least_score:
            break
        pool.remove(best)
        if _has_room_for(best, chosen) and not any(_are_similar(best.terms, other.terms) for other in chosen):
            chosen.append(best)
    return tuple(chosen)


def _is_quotable(candidate: Candidate) -> bool:
    text = candidate.excerpt.text
    return len(text) <= MOST_CHARS and not _LOOKS_LIKE_A_CITATION.search(_FENCED.sub("", text))


def _has_room_for(candidate: Candidate, chosen: Sequence[Candidate]) -> bool:
    return len(candidate.excerpt.text) + sum(len(other.excerpt.text) for other in chosen) <= MOST_CHARS


def _appeal(candidate: Candidate, chosen: Sequence[Candidate], confidence: float) -> float:
    """The score, lowered for another excerpt of a passage, and of a page, that is quoted already."""
    appeal = candidate.score
    if any(other.passage.id == candidate.passage.id for other in chosen):
        appeal *= 0.8
    if any(other.passage.title == candidate.passage.title for other in chosen):
        appeal *= 0.7 + 0.2 * confidence
    return appeal


def _are_similar(one: AbstractSet[str], other: AbstractSet[str]) -> bool:
    return len(one & other) >= NEAR_DUPLICATE * len(one | other)


def _written(chosen: Sequence[Candidate]) -> str:
    """Passages in the order of their best excerpt, each in its own order."""
    passages = list(dict.fromkeys(candidate.passage.id for candidate in chosen))
    in_order = sorted(chosen, key=lambda candidate: (passages.index(candidate.passage.id), candidate.position))
    gaps = ("", *(_gap(before, after) for before, after in pairwise(in_order)))
    return "".join(f"{gap}{_marked(candidate)}" for gap, candidate in zip(gaps, in_order, strict=True))


def _gap(before: Candidate, after: Candidate) -> str:
    flows = before.passage.id == after.passage.id and before.excerpt.is_sentence and after.excerpt.is_sentence
    return " " if flows else "\n\n"


def _marked(candidate: Candidate) -> str:
    # Behind a closing fence the marker would be part of the code.
    gap = "\n\n" if candidate.excerpt.ends_in_block else " "
    return f"{candidate.excerpt.text}{gap}[{candidate.passage.id}]"
