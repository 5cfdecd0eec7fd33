"""Does fusing two searches find better passages? Abstracts ranked for the queries of two classic test collections.

    python bench/retrieval.py [--json]

Cranfield and CISI (`../shared/data/retrieval`, sources and licences beside them), nDCG@10, by all-MiniLM-L6-v2. Every
abstract is one chunk. The worker's own `fuse` ranks the first 30 of each search; in the product Postgres' ts_rank_cd
finds those of the second, here BM25 does. Weights were chosen on even queries, odd ones are reported, gains with a
paired bootstrap interval. The summary is the last line; exit 1 where a goal is missed.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log2
from typing import Any

import numpy as np
from measuring import Goal
from numpy.typing import NDArray
from staging import PROJECT
from vectors import embedded

from jobs.answer import MAX_CHUNKS
from jobs.decisions.fusion import Candidate, fuse
from jobs.decisions.statistics import Interval, difference, paired
from jobs.decisions.terms import Bm25, terms

DATA = PROJECT.parent / "shared" / "data" / "retrieval"
GOALS = {"cranfield": 0.49, "cisi": 0.49}
CUT = 10
RRF_K = 60  # Cormack, Clarke and Büttcher 2009
FEEDBACK = 5  # passages that pseudo-relevance feedback believes in
FEEDBACK_WEIGHT = 0.5  # of their mean, beside the question's vector

Scores = NDArray[np.float64]  # of every text of the collection, for one query


@dataclass(frozen=True, slots=True)
class Collection:
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    queries: tuple[str, ...]
    judgements: tuple[Mapping[str, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The two searches of one query."""

    query: str
    cosine: Scores
    bm25: Scores
    vectors: NDArray[np.float32]
    vector: NDArray[np.float32]
    texts: Sequence[str]
    titles: Sequence[str]


Way = Callable[[Found], Sequence[int]]


def main() -> int:
    options = _parse()
    if not DATA.exists():
        print(f"retrieval skipped: {DATA} is not here")
        return 0
    report = {name: _measured(_read(name)) for name in GOALS}
    goals = [
        Goal(f"{name}: nDCG@10 >= {goal}", f"{(found := report[name]['rowcall'][0]):.3f}", found >= goal)
        for name, goal in GOALS.items()
    ]
    closing = _verdict(report, goals)
    if options.json:
        print(json.dumps({"sets": report, "goals": [asdict(goal) for goal in goals], "summary": closing}))
    else:
        print(_table(report), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


# The ways


def by_fusion(found: Found) -> Sequence[int]:
    near, matching = _first(found.cosine), _first(found.bm25)
    candidates = [_candidate(found, place) for place in dict.fromkeys((*near, *matching))]
    return [ranked.candidate.chunk_id for ranked in fuse(candidates, question=found.query, limit=CUT)]


def by_feedback(found: Found) -> Sequence[int]:
    """The same with the question moved towards the first passages that it found (Rocchio 1971)."""
    believed = list(by_fusion(found))[:FEEDBACK]
    vector = found.vector + FEEDBACK_WEIGHT * found.vectors[believed].mean(axis=0)
    vector /= np.linalg.norm(vector)
    moved = Found(
        found.query,
        found.vectors @ vector,
        found.bm25,
        found.vectors,
        vector,
        found.texts,
        found.titles,
    )
    return by_fusion(moved)


def by_rrf(found: Found) -> Sequence[int]:
    points = Counter[int]()
    for ranking in (_first(found.cosine), _first(found.bm25)):
        points.update({place: 1 / (RRF_K + rank) for rank, place in enumerate(ranking, 1)})
    return [place for place, _ in points.most_common(CUT)]


WAYS: Mapping[str, Way] = {
    "rowcall": by_fusion,
    "rowcall, with feedback": by_feedback,
    "RRF (k = 60)": by_rrf,
    "MiniLM": lambda found: _first(found.cosine),
    "BM25": lambda found: _first(found.bm25),
}


def _first(scores: Scores) -> list[int]:
    return [int(place) for place in np.argsort(-scores, kind="stable")[:MAX_CHUNKS]]


def _candidate(found: Found, place: int) -> Candidate:
    return Candidate(
        chunk_id=place,
        document_id=str(place),
        ordinal=0,
        title=found.titles[place],
        source=None,
        heading_path=(),
        content=found.texts[place].removeprefix(found.titles[place]).strip(),
        tokens=0,
        similarity=float(found.cosine[place]),
        text_rank=float(found.bm25[place]),
        vector_position=None,
        text_position=None,
    )


# What they find


def _measured(collection: Collection) -> dict[str, tuple[float, Interval]]:
    """nDCG@10 of each way on the odd queries, and how much the first is above it."""
    vectors, asked = embedded(collection.texts), embedded(collection.queries)
    texts = [terms(text) for text in collection.texts]
    values: dict[str, list[float]] = {name: [] for name in WAYS}
    for place in range(1, len(collection.queries), 2):
        query = collection.queries[place]
        bm25 = Bm25.over(terms(query), texts)
        scores = np.array([bm25.score(text) for text in texts])
        found = Found(query, vectors @ asked[place], scores, vectors, asked[place], collection.texts, collection.titles)
        for name, way in WAYS.items():
            ranking = [collection.ids[index] for index in way(found)]
            values[name].append(ndcg(ranking, collection.judgements[place]))
    ours = np.array(values["rowcall"])
    return {name: (float(np.mean(found)), paired(ours, np.array(found), difference)) for name, found in values.items()}


def ndcg(ranking: Sequence[str], judged: Mapping[str, int]) -> float:
    """nDCG@10 with the judgements as gains (Järvelin and Kekäläinen 2002)."""
    best = sorted(judged.values(), reverse=True)
    return _gain([judged.get(id, 0) for id in ranking]) / _gain(best)


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades[:CUT], 1))


def _read(name: str) -> Collection:
    corpus = _lines(f"{name}_corpus.jsonl")
    queries = [row for row in _lines(f"{name}_queries.jsonl") if any(row["qrels"].values())]
    return Collection(
        ids=tuple(row["id"] for row in corpus),
        titles=tuple(row["title"] for row in corpus),
        texts=tuple(_text(row["title"], row["text"]) for row in corpus),
        queries=tuple(row["text"] for row in queries),
        judgements=tuple(row["qrels"] for row in queries),
    )


def _text(title: str, text: str) -> str:
    return text if text.startswith(title) else f"{title}\n{text}".strip()


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def _table(report: Mapping[str, Mapping[str, tuple[float, Interval]]]) -> str:
    lines = []
    for name, found in report.items():
        lines.append(name)
        for way, (score, gain) in found.items():
            beside = (
                "" if way == "rowcall" else f"   rowcall {gain.estimate:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            )
            lines.append(f"  {way:24}{score:.3f}{beside}")
    return "\n".join(lines)


def _verdict(report: Mapping[str, Mapping[str, tuple[float, Interval]]], goals: Sequence[Goal]) -> str:
    scores = ", ".join(f"{name} {found['rowcall'][0]:.3f}" for name, found in report.items())
    return f"retrieval: {sum(goal.holds for goal in goals)} of {len(goals)} goals; nDCG@10 {scores}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
