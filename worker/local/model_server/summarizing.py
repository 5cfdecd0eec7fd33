"""What a prompt without passages gets: the sentences of its own text that say most about it."""

import math
import re
from collections import Counter

from worker.local.model_server.answering import SIGNATURE
from worker.local.model_server.excerpts import Excerpt, excerpts
from worker.local.model_server.terms import terms

MOST_SENTENCES = 3
NOTHING_TO_QUOTE = "There is nothing in this prompt that I could quote."

_INSTRUCTION = re.compile(r"\A[^\n:.?!]{1,200}:\s+(?=\S)")


def summarize(prompt: str) -> str:
    """The first sentence and the two that hold most of the text's frequent words, in the text's order.

    An instruction before a colon (`Summarize in one line: …`) is not part of the text.
    """
    text = _INSTRUCTION.sub("", prompt.strip(), count=1)
    pieces = [piece for piece in excerpts(text) if terms(piece.text)]
    if not pieces:
        return f"{NOTHING_TO_QUOTE}\n\n{SIGNATURE}"
    frequency = Counter(term for piece in pieces for term in set(terms(piece.text)))
    lead, *others = pieces
    best = sorted(others, key=lambda piece: -_weight(piece, frequency))[: MOST_SENTENCES - 1]
    kept = [lead, *(piece for piece in others if piece in best)]
    return "\n\n".join([_joined(kept), SIGNATURE])


def _weight(piece: Excerpt, frequency: Counter[str]) -> float:
    """How much of the text's subject the piece holds; a long one needs more of it (Luhn 1958, in spirit)."""
    bag = terms(piece.text)
    return sum(frequency[term] - 1 for term in set(bag)) / math.sqrt(len(bag))


def _joined(pieces: list[Excerpt]) -> str:
    if all(piece.is_sentence for piece in pieces):
        return " ".join(piece.text for piece in pieces)
    return "\n\n".join(piece.text for piece in pieces)
