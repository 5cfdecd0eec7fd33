"""Passages in another order: as a model puts them that reads the question and each passage together."""

from collections.abc import Sequence

from jobs.decisions.fusion import Ranked, without_repeats


def reorder(passages: Sequence[Ranked], scores: Sequence[float], *, limit: int) -> tuple[Ranked, ...]:
    """At most `limit` of them, best first by these scores, one each and in their order; equals stay as they were.

    Models score on scales of their own, some below 0: a passage's new score is its place between the worst, 0, and the
    best, 1. Where all are equal nothing changes. What a passage above says already is left out, of the whole texts:
    the passage that said it before may not be among these.
    """
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if low == high:
        return tuple(passages[:limit])
    chosen: list[Ranked] = []
    for place in sorted(range(len(passages)), key=lambda place: -scores[place]):
        candidate = passages[place].candidate
        content = without_repeats(candidate, chosen)
        if content and len(chosen) < limit:
            chosen.append(Ranked(candidate, (scores[place] - low) / (high - low), content))
    return tuple(chosen)
