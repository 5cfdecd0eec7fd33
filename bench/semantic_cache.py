"""Do two questions ask the same? Pairs that doctors wrote, half of them reworded, half of them alike in words alone.

    python bench/semantic_cache.py [--json]
    python bench/semantic_cache.py --fit     the weights and the threshold of jobs/decisions/caching.py

Set: medical_question_pairs (`../shared/data/semcache`, source beside it), 765 questions with one pair of each sort.
Weights and threshold come from the pairs of every second question, the other questions' pairs are reported. Gains over
the cosine of the same vectors come with a paired bootstrap interval over questions (Efron 1979; 95 %, 2,000 resamples).
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from measuring import Goal, wilson
from numpy.typing import NDArray
from public_data import SHARED, read_rows
from vectors import embedded

from jobs.decisions.caching import Caching, pair_features, same_probability
from jobs.decisions.differing import differ

DATA = SHARED / "semcache" / "medical_question_pairs.jsonl"
RESAMPLES = 2_000
PRECISION = 0.95
FOLDS = 5
RIDGE = 1.0

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers, Numbers], float]


@dataclass(frozen=True, slots=True)
class Pair:
    group: int  # of the question that both pairs of a doctor share
    one: str
    other: str
    cosine: float
    is_same: bool


def main() -> int:
    options = _parse()
    if not DATA.exists():
        print(f"semantic_cache skipped: {DATA} is not here")
        return 0
    pairs = _read()
    if options.fit:
        print(json.dumps(_fitted([pair for pair in pairs if pair.group % 2 == 0]), indent=2))
        return 0
    report = _measured([pair for pair in pairs if pair.group % 2 == 1])
    goals = _goals(report)
    closing = _verdict(report, goals)
    if options.json:
        print(json.dumps({**report, "goals": [asdict(goal) for goal in goals], "summary": closing}))
    else:
        print(_table(report), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


def _read() -> list[Pair]:
    rows = read_rows(DATA)
    texts = list(dict.fromkeys(row[side] for row in rows for side in "ab"))
    vectors = dict(zip(texts, embedded(texts), strict=True))
    groups = {text: place for place, text in enumerate(dict.fromkeys(row["a"] for row in rows))}
    return [
        Pair(groups[row["a"]], row["a"], row["b"], float(vectors[row["a"]] @ vectors[row["b"]]), bool(row["dup"]))
        for row in rows
    ]


# Measuring


def _measured(pairs: Sequence[Pair]) -> dict[str, Any]:
    same = np.array([pair.is_same for pair in pairs], np.float64)
    groups = np.array([pair.group for pair in pairs])
    scores = {
        "rowcall": np.array([_probability(pair) for pair in pairs]),
        "without the veto": np.array([same_probability(pair.one, pair.other, pair.cosine) for pair in pairs]),
        "cosine": np.array([pair.cosine for pair in pairs]),
    }
    served = scores["rowcall"] >= Caching().min_probability
    right = int(same[served].sum())
    return {
        "pairs": len(pairs),
        "ways": {name: {"auroc": auroc(s, same), "recall": recall(s, same)} for name, s in scores.items()},
        "gain": {
            name: {
                "auroc": _gain(auroc, scores[name], scores["cosine"], same, groups),
                "recall": _gain(recall, scores[name], scores["cosine"], same, groups),
            }
            for name in ("rowcall", "without the veto")
        },
        "shipped": {
            "min_probability": Caching().min_probability,
            "served": int(served.sum()),
            "right": right,
            "precision": right / max(1, int(served.sum())),
            "precision_95": wilson(right, int(served.sum())),
            "recall": right / same.sum(),
        },
    }


def _probability(pair: Pair) -> float:
    """As the worker decides: what differs in a number, a name or a negation is never given."""
    return -1.0 if differ(pair.one, pair.other) else same_probability(pair.one, pair.other, pair.cosine)


def auroc(scores: Numbers, same: Numbers) -> float:
    """That a pair of the same scores above one that differs; a tie counts half."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places] if len(values) else scores
    right = same.sum()
    return float((ranks[same == 1].sum() - right * (right + 1) / 2) / (right * (len(same) - right)))


def recall(scores: Numbers, same: Numbers) -> float:
    """The most of the same that one threshold finds while 95 % of what it finds are the same."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(same[order])
    taken = np.arange(1, len(order) + 1)
    ends = np.append(np.diff(scores[order]) != 0, True) & (found / taken >= PRECISION)  # a threshold parts no tie
    return float(found[ends].max() / same.sum()) if ends.any() else 0.0


def _gain(
    measure: Measure, ours: Numbers, theirs: Numbers, same: Numbers, groups: NDArray[np.int64]
) -> tuple[float, float, float]:
    """The difference and its interval. Both pairs of a question are drawn together."""
    rows = np.array([np.flatnonzero(groups == group) for group in np.unique(groups)])
    draws = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    picks = (rows[draw].ravel() for draw in draws)
    differences = [measure(ours[pick], same[pick]) - measure(theirs[pick], same[pick]) for pick in picks]
    low, high = np.percentile(differences, [2.5, 97.5])
    return measure(ours, same) - measure(theirs, same), float(low), float(high)


# Fitting


def _fitted(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The weights from all pairs; what thresholds give, by weights that have not seen the pair's question."""
    named = [pair_features(pair.one, pair.other, pair.cosine) for pair in pairs]
    features = np.array([list(row.values()) for row in named])
    same = np.array([pair.is_same for pair in pairs], np.float64)
    folds = np.array([pair.group // 2 % FOLDS for pair in pairs])
    logits = np.empty(len(pairs))
    for fold in range(FOLDS):
        weights = _regressed(features[folds != fold], same[folds != fold])
        logits[folds == fold] = weights[0] + features[folds == fold] @ weights[1:]
    vetoed = np.array([differ(pair.one, pair.other) for pair in pairs])
    probabilities = np.where(vetoed, -1.0, 1 / (1 + np.exp(-logits)))
    weights = _regressed(features, same)
    return {
        "INTERCEPT": round(float(weights[0]), 3),
        "WEIGHTS": {name: round(float(w), 3) for name, w in zip(named[0], weights[1:], strict=True)},
        "held_out": {"auroc": auroc(1 / (1 + np.exp(-logits)), same), "recall": recall(logits, same)},
        "at": {f"{least:.2f}": _at(least, probabilities, same) for least in np.arange(0.5, 1.0, 0.05)},
    }


def _at(least: float, probabilities: Numbers, same: Numbers) -> str:
    served = probabilities >= least
    return f"{int(same[served].sum())} right of {int(served.sum())} served"


def _regressed(features: Numbers, same: Numbers) -> Numbers:
    """The intercept and the weights of a ridge logistic regression, by Newton's method on standardized features."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    rows = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    ridge = RIDGE * np.diag([0.0] + [1.0] * features.shape[1])
    weights = np.zeros(rows.shape[1])
    for _ in range(30):
        likely = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (likely - same) + ridge @ weights
        weights -= np.linalg.solve((rows * (likely * (1 - likely))[:, None]).T @ rows + ridge, slope)
    plain = weights[1:] / spread
    return np.append(weights[0] - plain @ mean, plain)


# Reporting


def _goals(report: Mapping[str, Any]) -> list[Goal]:
    found, shipped = report["ways"]["without the veto"]["recall"], report["shipped"]
    return [
        Goal("recall at 95 % precision >= 55 %", f"{100 * found:.2f} %", found >= 0.55),
        Goal(
            "precision at the shipped threshold >= 95 %",
            f"{100 * shipped['precision']:.1f} %",
            shipped["precision"] >= PRECISION,
        ),
    ]


def _table(report: Mapping[str, Any]) -> str:
    lines = [f"{report['pairs']} pairs, half of them the same"]
    for name, way in report["ways"].items():
        gain = report["gain"].get(name)
        beside = "" if gain is None else f"   beside cosine {_points(gain['recall'])}; AUROC {_points(gain['auroc'])}"
        lines.append(f"  {name:17} AUROC {way['auroc']:.3f}  recall at 95 % {100 * way['recall']:5.1f} %{beside}")
    shipped = report["shipped"]
    low, high = shipped["precision_95"]
    lines.append(
        f"  at {shipped['min_probability']:g}, with the veto: {shipped['right']} right of {shipped['served']} served, "
        f"{100 * shipped['precision']:.1f} % ({100 * low:.1f} to {100 * high:.1f}), "
        f"recall {100 * shipped['recall']:.1f} %"
    )
    return "\n".join(lines)


def _points(gain: Sequence[float]) -> str:
    difference, low, high = (100 * number for number in gain)
    return f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"


def _verdict(report: Mapping[str, Any], goals: Sequence[Goal]) -> str:
    missed = sum(not goal.holds for goal in goals)
    word = f"misses {missed} of {len(goals)} goals" if missed else "passes"
    ways, shipped = report["ways"], report["shipped"]
    return (
        f"semantic_cache {word}: recall {100 * ways['without the veto']['recall']:.1f} % at 95 % precision "
        f"(cosine {100 * ways['cosine']['recall']:.1f} %), {100 * shipped['precision']:.1f} % right as shipped"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="print weights, and what thresholds would give")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
