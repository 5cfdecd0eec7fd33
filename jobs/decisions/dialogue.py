"""Talk that was written down, a meeting or a chat: lines that begin with who speaks."""

import re
from collections.abc import Sequence

from jobs.decisions.fusion import Ranked, spread

# "Project Manager: So let us begin.", the name also in bold. A single letter is the Q or A of questions and answers,
# each of which stands for itself; a small letter is a key of some configuration.
_TURN = re.compile(r"^[*_]{0,2}([^\W\d_][^:\n]{1,40}):[*_]{0,2}[ \t]", re.MULTILINE)

# How near a chunk of the document has to be to count, in chunks; one beside it counts four fifths.
_REACH = 5


def is_dialogue(texts: Sequence[str]) -> bool:
    """Whether at least half of the lines are turns, by speakers who speak twice or more on average."""
    lines = sum(bool(line.strip()) for text in texts for line in text.splitlines())
    speakers = [name for text in texts for name in _TURN.findall(text) if not name[0].islower()]
    return bool(speakers) and 2 * len(speakers) >= lines and 2 * len(set(speakers)) <= len(speakers)


def smoothed(passages: Sequence[Ranked]) -> list[float]:
    """The passages' scores, each averaged with those of the chunks around it in its document, the nearer the more
    (Nadaraya-Watson with a triangular kernel), from 0 to 1 again.
    """
    scores = {(p.candidate.document_id, p.candidate.ordinal): p.score for p in passages}

    def around(passage: Ranked) -> float:
        document, ordinal = passage.candidate.document_id, passage.candidate.ordinal
        near = [
            (_REACH - abs(step), scores[document, ordinal + step])
            for step in range(1 - _REACH, _REACH)
            if (document, ordinal + step) in scores
        ]
        return sum(weight * score for weight, score in near) / sum(weight for weight, _ in near)

    return spread([around(passage) for passage in passages])
