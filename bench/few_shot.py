"""Which examples are shown? Queries with labels, and what the examples that the worker would choose say of them.

    python bench/few_shot.py [--json]

Banking77 and CLINC150 (`../shared/data/fewshot`, in scope). There is no large model here: measured is whether the label
that most of the chosen examples have, weighed by similarity, is the query's. It shows whether the right examples are
found, not what a model makes of them. All-MiniLM-L6-v2; 1,500 queries chose the weights, another 1,500 are reported,
the rest is what examples are chosen from. The summary is the last line; exit 1 where a goal is missed.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import Goal, to_json
from staging import PROJECT
from vectors import embedded

from jobs.decisions.examples import choose_examples
from jobs.decisions.statistics import Interval, difference, paired
from worker.adapters.tokens import count_tokens

DATA = PROJECT.parent / "shared" / "data" / "fewshot"
GOALS = {"banking77": 94.0, "clinc150": 96.5}  # per cent
CANDIDATES = 12  # nearest examples that the database hands to the choice
SHOWN = 5
PART = 1500
SHARPNESS = 8  # of a vote: similarity to this power


@dataclass(frozen=True, slots=True)
class Example:
    question: str
    answer: str  # the label
    similarity: float


Way = Callable[[Sequence[Example], np.random.Generator], Sequence[Example]]


def main() -> int:
    options = _parse()
    if not DATA.exists():
        print(f"few_shot skipped: {DATA} is not here")
        return 0
    report = {name: _measured(name, tuning=options.tuning) for name in GOALS}
    goals = [
        Goal(f"{name}: the right label >= {goal} %", f"{(found := report[name]['rowcall'][0]):.1f} %", found >= goal)
        for name, goal in GOALS.items()
    ]
    closing = _verdict(report, goals)
    if options.json:
        print(to_json({"sets": report, "goals": goals, "summary": closing}))
    else:
        print(_table(report), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


def by_choice(candidates: Sequence[Example], _chance: np.random.Generator) -> Sequence[Example]:
    return choose_examples(candidates[:CANDIDATES], limit=SHOWN, budget_tokens=10_000, count_tokens=count_tokens)


def by_nearness(candidates: Sequence[Example], _chance: np.random.Generator) -> Sequence[Example]:
    return candidates[:SHOWN]


def by_chance(candidates: Sequence[Example], chance: np.random.Generator) -> Sequence[Example]:
    return [candidates[place] for place in chance.choice(len(candidates), SHOWN, replace=False)]


WAYS: Mapping[str, Way] = {"rowcall": by_choice, "5 nearest": by_nearness, "5 of the 100 nearest": by_chance}


def _measured(name: str, *, tuning: bool) -> dict[str, tuple[float, Interval]]:
    """The share of right labels of each way, per cent, and how much the first is above it, in points."""
    rows = [row for row in _lines(f"{name}.jsonl") if row["label"] != "oos"]
    vectors = embedded([row["text"] for row in rows])
    order = np.random.default_rng(0).permutation(len(rows))
    asked, kept = order[PART : 2 * PART] if tuning else order[:PART], order[2 * PART :]
    similarity = vectors[asked] @ vectors[kept].T
    chance = np.random.default_rng(1)
    hits: dict[str, list[bool]] = {way: [] for way in WAYS}
    for query, near in zip(asked, similarity, strict=True):
        best = [int(place) for place in np.argsort(-near)[:100]]
        candidates = [Example(rows[kept[p]]["text"], rows[kept[p]]["label"], float(near[p])) for p in best]
        for way, choose in WAYS.items():
            hits[way].append(_vote(choose(candidates, chance)) == rows[query]["label"])
    found = {way: 100 * np.array(right, np.float64) for way, right in hits.items()}
    return {way: (float(right.mean()), paired(found["rowcall"], right, difference)) for way, right in found.items()}


def _vote(examples: Sequence[Example]) -> str | None:
    votes: defaultdict[str, float] = defaultdict(float)
    for example in examples:
        votes[example.answer] += max(0.0, example.similarity) ** SHARPNESS
    return max(votes, key=lambda label: votes[label], default=None)


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def _table(report: Mapping[str, Mapping[str, tuple[float, Interval]]]) -> str:
    lines = []
    for name, found in report.items():
        lines.append(name)
        for way, (share, gain) in found.items():
            beside = f"   rowcall {gain.estimate:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})"
            lines.append(f"  {way:22}{share:5.1f} %{'' if way == 'rowcall' else beside}")
    return "\n".join(lines)


def _verdict(report: Mapping[str, Mapping[str, tuple[float, Interval]]], goals: Sequence[Goal]) -> str:
    shares = ", ".join(f"{name} {found['rowcall'][0]:.1f} %" for name, found in report.items())
    return f"few_shot: {sum(goal.holds for goal in goals)} of {len(goals)} goals; {shares}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--tuning", action="store_true", help="the part on which weights are chosen, not the reported")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
