"""Which examples are shown? Queries with labels, and what the examples that the worker would choose say of them.

    python bench/few_shot.py [--json]

Banking77 and CLINC150 (`../shared/data/fewshot`, in scope). There is no large model here: measured is whether the label
that most of the chosen examples have is the query's; of labels with as many, that of the example shown last. The others
have no order that says so: theirs are weighed by similarity, which is better for them. It shows whether the right
examples are found, not what a model makes of them. All-MiniLM-L6-v2; 1,500 queries are reported, all others chose the
weights and are what examples are chosen from, but for the 1,500 of `--tuning`. The summary is the last line; exit 1
where a goal is missed.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from comparing import OURS, Compared, Report, table
from measuring import Goal, to_json
from numpy.typing import NDArray
from public_data import SHARED, read_rows
from vectors import embedded

from jobs.answer import NEAR_EXAMPLES
from jobs.decisions.examples import FewShot, choose_examples
from jobs.decisions.statistics import difference, paired
from jobs.ports import Vectors
from worker.adapters.memory.knowledge import places_offered
from worker.adapters.tokens import count_tokens

DATA = SHARED / "fewshot"
GOALS = {"banking77": 94.0, "clinc150": 96.5}  # per cent
SHOWN = 5
MOST = 100  # nearest that any way chooses from
PART = 1500
SHARPNESS = 8  # of a vote: similarity to this power


@dataclass(frozen=True, slots=True)
class Example:
    question: str
    answer: str  # the label
    similarity: float
    to_nearer: tuple[float, ...]


Places = NDArray[np.int64]


Choice = Callable[[Sequence[Example], str, np.random.Generator], Sequence[Example]]
Vote = Callable[[Sequence[Example]], str | None]


def main() -> int:
    options = _parse()
    if not DATA.exists():
        print(f"few_shot skipped: {DATA} is not here")
        return 0
    report = {name: _measured(name, tuning=options.tuning) for name in GOALS}
    goals = [
        Goal(f"{name}: the right label >= {goal} %", f"{(found := report[name][OURS][0]):.1f} %", found >= goal)
        for name, goal in GOALS.items()
    ]
    closing = _verdict(report, goals)
    if options.json:
        print(to_json({"sets": report, "goals": goals, "summary": closing}))
    else:
        print(table(report, digits=1, unit=" %"), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


def by_choice(candidates: Sequence[Example], question: str, _chance: np.random.Generator) -> Sequence[Example]:
    near = _as_offered(candidates[:NEAR_EXAMPLES])
    return choose_examples(near, question, FewShot(SHOWN, 10_000), count_tokens)


def _as_offered(candidates: Sequence[Example]) -> list[Example]:
    """Those that the database would answer with; their cosines have three digits."""
    places = places_offered([candidate.answer for candidate in candidates])
    return [
        replace(candidates[n], to_nearer=tuple(round(candidates[n].to_nearer[m], 3) for m in places if m < n))
        for n in places
    ]


def by_nearness(candidates: Sequence[Example], _question: str, _chance: np.random.Generator) -> Sequence[Example]:
    return candidates[:SHOWN]


def by_chance(candidates: Sequence[Example], _question: str, chance: np.random.Generator) -> Sequence[Example]:
    return [candidates[place] for place in chance.choice(len(candidates), SHOWN, replace=False)]


def most_shown(examples: Sequence[Example]) -> str | None:
    count = Counter(example.answer for example in reversed(examples))  # in this order where as many have it
    return max(count, key=lambda label: count[label], default=None)


def most_similar(examples: Sequence[Example]) -> str | None:
    votes: defaultdict[str, float] = defaultdict(float)
    for example in examples:
        votes[example.answer] += max(0.0, example.similarity) ** SHARPNESS
    return max(votes, key=lambda label: votes[label], default=None)


WAYS: Mapping[str, tuple[Choice, Vote]] = {
    OURS: (by_choice, most_shown),
    "5 nearest": (by_nearness, most_similar),
    "5 of the 100 nearest": (by_chance, most_similar),
}


def _measured(name: str, *, tuning: bool) -> dict[str, Compared]:
    """The share of right labels of each way, per cent, and how much the first is above it, in points."""
    rows = [row for row in read_rows(DATA / f"{name}.jsonl") if row["label"] != "oos"]
    vectors = embedded([row["text"] for row in rows])
    order = np.random.default_rng(0).permutation(len(rows))
    asked, kept = order[PART : 2 * PART] if tuning else order[:PART], order[2 * PART :]
    similarity = vectors[asked] @ vectors[kept].T
    chance = np.random.default_rng(1)
    hits: dict[str, list[bool]] = {way: [] for way in WAYS}
    for query, near in zip(asked, similarity, strict=True):
        candidates = _nearest(rows, vectors, kept, near)
        for way, (choose, vote) in WAYS.items():
            hits[way].append(vote(choose(candidates, rows[query]["text"], chance)) == rows[query]["label"])
    found = {way: 100 * np.array(right, np.float64) for way, right in hits.items()}
    return {way: (float(right.mean()), paired(found[OURS], right, difference)) for way, right in found.items()}


def _nearest(rows: Sequence[Mapping[str, str]], vectors: Vectors, kept: Places, near: Vectors) -> list[Example]:
    """Of the kept, those nearest by `near`, nearest first."""
    best = np.argsort(-near)[:MOST]
    among = vectors[kept[best]] @ vectors[kept[best]].T
    return [
        Example(rows[kept[p]]["text"], rows[kept[p]]["label"], float(near[p]), tuple(map(float, among[n, :n])))
        for n, p in enumerate(best)
    ]


def _verdict(report: Report, goals: Sequence[Goal]) -> str:
    shares = ", ".join(f"{name} {found[OURS][0]:.1f} %" for name, found in report.items())
    return f"few_shot: {sum(goal.holds for goal in goals)} of {len(goals)} goals; {shares}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--tuning", action="store_true", help="the part on which weights are chosen, not the reported")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
