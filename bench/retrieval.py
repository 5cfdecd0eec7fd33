"""Does fusing two searches find better passages? Ranked are two classic test collections, and real documentation.

    python bench/retrieval.py [--json]

Cranfield and CISI (`../shared/data/retrieval`, sources and licences beside them), nDCG@10, each abstract one chunk; 187
pages of documentation (`../shared/data/docs`) in the chunks that an ingest makes of them, with 17 questions of their
FAQs: whether the right page is among the first five. By all-MiniLM-L6-v2. Rowcall's candidates are those of its own
context call on an embedded Postgres, ranked by the worker's `fuse`; the ways beside it rank the whole collection by its
vectors and BM25. Weights were chosen on even queries of the two collections, odd ones are reported, gains with a paired
bootstrap interval. The summary is the last line; exit 1 where a goal is missed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np
import psycopg
from comparing import OURS, Compared, Report, table
from measuring import Goal, to_json
from numpy.typing import NDArray
from public_data import SHARED, read_rows
from retrieving import Connection, called, shelved
from staging import temporary_stack
from vectors import embedded

from jobs.decisions.chunking import chunk, embedding_text
from jobs.decisions.fusion import RETRIEVING, Candidate, fuse
from jobs.decisions.reading import find_title, to_markdown
from jobs.decisions.statistics import difference, paired
from jobs.decisions.terms import Bm25, terms
from worker.adapters.knowledge import candidate_of
from worker.adapters.tokens import count_tokens

COLLECTIONS = ("cranfield", "cisi")
DOCUMENTATION = "documentation"
BARE = "documentation, chunks without title and headings"
GOALS = {"cranfield": 0.49, "cisi": 0.49, DOCUMENTATION: 1.0}
CUT = 10
FIRST_PAGES = 5
RRF_K = 60  # Cormack, Clarke and Büttcher 2009
FEEDBACK = 5  # passages that pseudo-relevance feedback believes in
FEEDBACK_WEIGHT = 0.5  # of their mean, beside the question's vector

Scores = NDArray[np.float64]  # of every passage of the collection, for one query
Measure = Callable[[Sequence[str], Mapping[str, int]], float]  # of a ranking of documents, by their judgements


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    judged: Mapping[str, int]  # documents that answer it


@dataclass(frozen=True, slots=True)
class Collection:
    passages: tuple[Candidate, ...]
    queries: tuple[Query, ...]  # that are reported
    measure: Measure

    @property
    def texts(self) -> list[str]:
        """What is embedded of each passage."""
        return [embedding_text(p.title, p.heading_path, p.content) for p in self.passages]


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one query."""

    query: str
    candidates: tuple[Candidate, ...]  # from the context call
    word_shares: Mapping[str, float]
    cosine: Scores
    bm25: Scores
    vectors: NDArray[np.float32]
    vector: NDArray[np.float32]


Way = Callable[[Found], Sequence[int]]  # places of passages, best first


def main() -> int:
    options = _parse()
    if not SHARED.exists():
        print(f"retrieval skipped: {SHARED} is not here")
        return 0
    with temporary_stack(parts=frozenset()) as stack, psycopg.connect(stack.db_url, autocommit=True) as connection:
        report = {name: _measured(collection, connection) for name, collection in _collections()}
    goals = [
        Goal(f"{name}: {goal} or more", f"{(found := report[name]['rowcall'][0]):.3f}", found >= goal)
        for name, goal in GOALS.items()
    ]
    closing = _verdict(report, goals)
    if options.json:
        print(to_json({"sets": report, "goals": goals, "summary": closing}))
    else:
        print(table(report, digits=3), *goals, closing, sep="\n")
    return 0 if all(goal.holds for goal in goals) else 1


# The ways


def by_fusion(found: Found) -> Sequence[int]:
    ranked = fuse(found.candidates, question=found.query, limit=RETRIEVING.candidates, word_shares=found.word_shares)
    return [_place(passage.candidate) for passage in ranked]


def uncounted(found: Found) -> Sequence[int]:
    """The same with the words weighed by how many of the candidates hold them."""
    return by_fusion(replace(found, word_shares={}))


def by_feedback(found: Found) -> Sequence[int]:
    """The same with the question moved towards the first passages that it found (Rocchio 1971)."""
    believed = list(by_fusion(found))[:FEEDBACK]
    vector = found.vector + FEEDBACK_WEIGHT * found.vectors[believed].mean(axis=0)
    near = found.vectors @ (vector / np.linalg.norm(vector))
    moved = tuple(replace(c, similarity=float(near[_place(c)])) for c in found.candidates)
    return by_fusion(replace(found, candidates=moved))


def _place(candidate: Candidate) -> int:
    return int(candidate.metadata["place"])


def by_rrf(found: Found) -> Sequence[int]:
    points = Counter[int]()
    for ranking in (_first(found.cosine), _first(found.bm25)):
        points.update({place: 1 / (RRF_K + rank) for rank, place in enumerate(ranking, 1)})
    return [place for place, _ in points.most_common(RETRIEVING.candidates)]


WAYS: Mapping[str, Way] = {
    OURS: by_fusion,
    "words by the candidates": uncounted,
    "with feedback": by_feedback,
    "RRF (k = 60)": by_rrf,
    "MiniLM": lambda found: _first(found.cosine),
    "BM25": lambda found: _first(found.bm25),
}


def _first(scores: Scores) -> list[int]:
    return [int(place) for place in np.argsort(-scores, kind="stable")[: RETRIEVING.candidates]]


# What they find


def _measured(collection: Collection, connection: Connection) -> dict[str, Compared]:
    """The measure of each way, mean over the queries, and how much the first is above it."""
    vectors, asked = embedded(collection.texts), embedded([query.text for query in collection.queries])
    texts = [terms(text) for text in collection.texts]
    values: dict[str, list[float]] = {name: [] for name in WAYS}
    with shelved(connection, collection.passages, vectors) as owner:
        for query, vector in zip(collection.queries, asked, strict=True):
            context, _ = called(connection, owner, query.text, vector.tolist())
            candidates = tuple(candidate_of(chunk) for chunk in context["chunks"])
            bm25 = Bm25.over(terms(query.text), texts)
            scores = np.array([bm25.score(text) for text in texts])
            found = Found(query.text, candidates, context["word_shares"], vectors @ vector, scores, vectors, vector)
            for name, way in WAYS.items():
                ranking = list(dict.fromkeys(collection.passages[place].document_id for place in way(found)))
                values[name].append(collection.measure(ranking, query.judged))
    ours = np.array(values[OURS])
    return {name: (float(np.mean(found)), paired(ours, np.array(found), difference)) for name, found in values.items()}


def ndcg(ranking: Sequence[str], judged: Mapping[str, int]) -> float:
    """nDCG@10 with the judgements as gains (Järvelin and Kekäläinen 2002)."""
    best = sorted(judged.values(), reverse=True)
    return _gain([judged.get(id, 0) for id in ranking]) / _gain(best)


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades[:CUT], 1))


def among_the_first(ranking: Sequence[str], judged: Mapping[str, int]) -> float:
    return float(any(document in judged for document in ranking[:FIRST_PAGES]))


# The sets


def _collections() -> Iterator[tuple[str, Collection]]:
    for name in COLLECTIONS:
        yield name, _abstracts(name)
    pages = _documentation()
    yield DOCUMENTATION, pages
    bare = tuple(replace(passage, title="", heading_path=()) for passage in pages.passages)
    yield BARE, replace(pages, passages=bare)


def _abstracts(name: str) -> Collection:
    corpus = read_rows(SHARED / "retrieval" / f"{name}_corpus.jsonl")
    queries = [row for row in read_rows(SHARED / "retrieval" / f"{name}_queries.jsonl") if any(row["qrels"].values())]
    passages = [
        _passage(place, row["id"], 0, row["title"], (), row["text"].removeprefix(row["title"]).strip())
        for place, row in enumerate(corpus)
    ]
    return Collection(tuple(passages), tuple(Query(row["text"], row["qrels"]) for row in queries[1::2]), ndcg)


def _documentation() -> Collection:
    passages: list[Candidate] = []
    for page in read_rows(SHARED / "docs" / "stack_docs.jsonl"):
        markdown = to_markdown(page["text"], "text/markdown" if page["id"].endswith(".md") else "text/plain")
        title = find_title(markdown, page["id"])
        passages += [
            _passage(len(passages) + c.ordinal, page["id"], c.ordinal, title or "", c.heading_path, c.content)
            for c in chunk(markdown, count_tokens=count_tokens, title=title)
        ]
    questions = read_rows(SHARED / "docs" / "stack_faq.jsonl")
    asked = tuple(Query(row["question"], {row["doc"]: 1}) for row in questions)
    return Collection(tuple(passages), asked, among_the_first)


def _passage(
    place: int, document: str, ordinal: int, title: str, heading_path: tuple[str, ...], content: str
) -> Candidate:
    return Candidate(
        chunk_id=place,
        document_id=document,
        ordinal=ordinal,
        title=title,
        source=document,
        heading_path=heading_path,
        content=content,
        tokens=0,
        similarity=None,
        text_rank=None,
        vector_position=None,
        text_position=None,
    )


def _verdict(report: Report, goals: Sequence[Goal]) -> str:
    scores = ", ".join(f"{name} {found['rowcall'][0]:.3f}" for name, found in report.items())
    return (
        f"retrieval: {sum(goal.holds for goal in goals)} of {len(goals)} goals; {scores} "
        "(nDCG@10; documentation: right page in the first five, 17 questions, an illustration)"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
