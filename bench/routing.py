"""Does a router pay? Trained and calibrated on parts of public sets, reported on the rest, beside four other policies.

    python bench/routing.py [--json] [--data FOLDER] [--write-weights]

Every gain has a paired bootstrap interval of 95 %. The last line is a summary; the exit code is 1 where a goal is
missed. `--write-weights` trains on all of llmrouter9 and writes worker/weights/routing.npz.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from answer_checks import doubts
from measuring import Goal, percentile
from numpy.typing import NDArray
from routing_data import FOLDER, Indices, Qualities, RoutingSet, read_nine, read_pair, split, weak_answers

from jobs.decisions.calibrating import cross_predicted, fitted
from jobs.decisions.checking import Answer, failed_checks
from jobs.decisions.predicting import VECTOR, Predictor
from jobs.decisions.routing import calibrated_price_weight
from worker.prior import write_predictor

SEED = 20261125
RESAMPLES = 2000
OTHER_KEEPS = (0.95, 1.01)
KEEP = 0.99  # of the best single model's quality: what the price weight is calibrated to
SMALL_MODELS = ("gemma-2-9b-it", "llama-3.1-8b-instruct", "qwen2.5-7b-instruct")
LARGE_MODEL = "llama-3.1-nemotron-51b-instruct"


@dataclass(frozen=True, slots=True)
class Figure:
    """A policy on a part that it was not made from, as shares of always taking the best single model."""

    part: str
    policy: str
    rows: int
    quality: tuple[float, float, float]  # estimate, low, high
    saved: tuple[float, float, float]

    def __str__(self) -> str:
        q, s = self.quality, self.saved
        return (
            f"{self.part:22} {self.policy:14} quality {q[0]:6.1%} [{q[1]:.1%}, {q[2]:.1%}]  "
            f"saved {s[0]:6.1%} [{s[1]:.1%}, {s[2]:.1%}]"
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """The average share of the gap between two models that is recovered, over all shares of calls to the strong one."""

    part: str
    rows: int
    apgr: tuple[float, float, float]

    def __str__(self) -> str:
        a = self.apgr
        return f"{self.part:37} APGR {a[0]:.3f} [{a[1]:.3f}, {a[2]:.3f}]  random .500 by definition, {self.rows} rows"


def policies(part: str, whole: RoutingSet, seen: Indices, tested: Indices) -> list[Figure]:
    """The router, and the others, on the tested rows. It is calibrated on rows that training left out."""
    known, test = whole.part(seen), whole.part(tested)
    best = int(known.scores.mean(axis=0).argmax())
    left_out = cross_predicted(known.features, known.scores).worths
    worths = fitted(known.features, known.scores).predict_features(test.features).worths

    def routed(keep: float) -> Indices:
        weight = calibrated_price_weight(left_out, known.scores, whole.prices, keep)
        picks: Indices = (worths - weight * whole.prices).argmax(axis=1)
        return picks

    picks = routed(KEEP)
    cheap = int(cheapest(whole, seen))
    share = float(
        ((whole.prices[best] - whole.prices[picks].mean()) / (whole.prices[best] - whole.prices[cheap])).clip(0, 1)
    )
    rng = np.random.default_rng(SEED)
    mixed = np.where(rng.random(len(tested)) < share, cheap, best)
    named = {
        "router": picks,
        **{f"router to {keep:.0%}": routed(keep) for keep in OTHER_KEEPS},
        "random mix": mixed,
        "always best": np.full(len(tested), best),
        "always cheap": np.full(len(tested), cheap),
        "any at random": rng.integers(0, len(whole.models), len(tested)),
    }
    return [figure(part, name, test, chosen, best) for name, chosen in named.items()]


def cheapest(whole: RoutingSet, seen: Indices) -> int:
    """The best of those that cost least."""
    means = whole.scores[seen].mean(axis=0)
    return int(np.where(whole.prices == whole.prices.min(), means, -1.0).argmax())


def figure(part: str, policy: str, test: RoutingSet, picks: Indices, best: int) -> Figure:
    rows = np.arange(len(picks))
    got, reference = test.scores[rows, picks], test.scores[:, best]
    saved = 1 - test.prices[picks] / test.prices[best]
    drawn = np.random.default_rng(SEED).integers(0, len(picks), (RESAMPLES, len(picks)))
    qualities = got[drawn].mean(axis=1) / reference[drawn].mean(axis=1)
    return Figure(
        part,
        policy,
        len(picks),
        interval(float(got.mean() / reference.mean()), qualities),
        interval(float(saved.mean()), saved[drawn].mean(axis=1)),
    )


def gap(part: str, whole: RoutingSet, trained: Indices, tested: Indices, doubted: Sequence[int] = ()) -> Gap:
    """How well the predicted gain of the strong model orders the tested rows. `doubted`: for each row of the set, how
    much is visibly wrong with the weak model's answer; who has more of it goes first.
    """
    known = whole.part(trained)
    answers = fitted(known.features, known.scores).predict_features(whole.features[tested]).qualities
    gain, scores = answers[:, 1] - answers[:, 0], whole.scores[tested]
    if doubted:
        gain = gain + np.array(doubted)[tested]
    drawn = np.random.default_rng(SEED).integers(0, len(tested), (RESAMPLES, len(tested)))
    resampled = np.array([apgr(gain[rows], scores[rows]) for rows in drawn])
    return Gap(part, len(tested), interval(apgr(gain, scores), resampled))


def halves(whole: RoutingSet) -> tuple[Indices, Indices]:
    trained, tested = split(len(whole.texts), (0.5, 0.5), SEED)
    return trained, tested


def cascade_gaps(folder: Path) -> list[Gap]:
    """By the question alone; with what is visibly wrong with the weak model's answer, as a cascade sees it; and with no
    more of that than the product's checks.
    """
    whole, answers = read_pair(folder, "routellm_gsm8k"), weak_answers(folder, "routellm_gsm8k")
    product = [len(failed_checks(Answer(answer, "stop"), ("ending", "arithmetic"))) for answer in answers]
    return [
        gap("GSM8K, question", whole, *halves(whole)),
        gap("GSM8K, cascade", whole, *halves(whole), [doubts(answer) for answer in answers]),
        gap("GSM8K, cascade, product's checks", whole, *halves(whole), product),
    ]


def apgr(gain: NDArray[np.floating], scores: Qualities) -> float:
    """RouteLLM (arXiv 2406.18665), 3.1: the recovered gap, averaged over the share of calls to the strong model."""
    order = np.argsort(-gain, kind="stable")
    difference = (scores[:, 1] - scores[:, 0])[order]
    recovered = np.concatenate([[0.0], np.cumsum(difference)]) / difference.sum()
    return float(np.trapezoid(recovered) / len(difference))


def interval(estimate: float, resampled: NDArray[np.floating]) -> tuple[float, float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return estimate, float(low), float(high)


def unseen(whole: RoutingSet) -> Iterator[list[Figure]]:
    """Each task once among the tested ones of four folds, of which the router has seen nothing."""
    names = sorted(set(whole.tasks))
    shuffled = np.random.default_rng(SEED).permutation(len(names))
    tasks = np.array(whole.tasks)
    for number, fold in enumerate(np.array_split(shuffled, 4), 1):
        held = np.isin(tasks, [names[i] for i in fold])
        yield policies(f"unseen tasks, fold {number}", whole, np.flatnonzero(~held), np.flatnonzero(held))


def pooled(folds: list[list[Figure]]) -> tuple[float, float]:
    """Quality and saving of the router over all folds, weighted by rows."""
    routers = [figures[0] for figures in folds]
    rows = np.array([r.rows for r in routers])
    quality = np.average([r.quality[0] for r in routers], weights=rows)
    return float(quality), float(np.average([r.saved[0] for r in routers], weights=rows))


def decision_ms(predictor: Predictor, data: RoutingSet) -> list[float]:
    took = []
    for text, vector in zip(data.texts[:300], data.features[:300, :VECTOR], strict=True):
        began = time.process_time()
        predictor.predict(text, vector)
        took.append(1000 * (time.process_time() - began))
    return took


def shipped(whole: RoutingSet) -> Predictor:
    """Of all rows: how well small models answer on average, and a large one."""
    columns = [whole.models.index(model) for model in SMALL_MODELS]
    scores = np.column_stack([whole.scores[:, columns].mean(axis=1), whole.scores[:, whole.models.index(LARGE_MODEL)]])
    return fitted(whole.features, scores)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("--json", action="store_true")
    options.add_argument("--data", type=Path, default=FOLDER)
    options.add_argument("--write-weights", action="store_true")
    given = options.parse_args()
    if not (given.data / "llmrouter9.jsonl").exists():
        print(f"the public sets are not at {given.data}: --data names another folder")
        return 2
    nine = read_nine(given.data)
    if given.write_weights:
        write_predictor(shipped(nine))
    seen, test = split(len(nine.texts), (0.75, 0.25), SEED)
    figures = policies("held-out prompts", nine, seen, test)
    folds = list(unseen(nine))
    mmlu = read_pair(given.data, "routellm_mmlu")
    gaps = [gap("MMLU", mmlu, *halves(mmlu)), *cascade_gaps(given.data)]
    milliseconds = percentile(decision_ms(fitted(nine.features[seen], nine.scores[seen]), nine), 0.95)

    router, (quality, saved) = figures[0], pooled(folds)
    goals = [
        Goal("held-out prompts: >= 70 % saved at >= 101 %", f"{router.saved[0]:.1%} at {router.quality[0]:.1%}",
             router.saved[0] >= 0.70 and router.quality[0] >= 1.01),
        Goal("unseen tasks: >= 60 % saved at >= 99 %", f"{saved:.1%} at {quality:.1%}",
             saved >= 0.60 and quality >= 0.99),
        *(Goal(f"{g.part}: APGR >= {least}", f"{g.apgr[0]:.3f}", g.apgr[0] >= least)
          for g, least in zip(gaps[:3], (0.72, 0.65, 0.82), strict=True)),
        Goal("a decision, embedding given: <= 2 ms of CPU (p95)", f"{milliseconds:.2f} ms", milliseconds <= 2.0),
    ]  # fmt: skip
    shown: list[Figure | Gap] = [*figures, *(line for fold in folds for line in fold), *gaps]
    if given.json:
        print(json.dumps({"figures": [asdict(line) for line in shown], "goals": [asdict(goal) for goal in goals]}))
    else:
        print(*shown, *goals, sep="\n")
    missed = sum(not goal.holds for goal in goals)
    print(
        f"routing: {len(goals) - missed} of {len(goals)} goals reached", file=sys.stderr if given.json else sys.stdout
    )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
