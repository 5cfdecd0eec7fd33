"""Questions from the FAQs of real documentation, asked of that documentation: is the right page cited?

    python bench/docs_faq.py [--json]

187 pages go through `documents`, 17 questions through `generations`, as a signed-in user's. 17 questions are an
illustration: the interval beside the share says how little they prove. Retrieval is measured apart, by the same SQL
function and the same decisions, so that a miss can be put down to it or to the model.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from measuring import Goal, percentile, wilson
from public_data import SHARED, read_rows
from retrieving import Retrieval
from staging import ACCOUNT, temporary_stack

from worker.client import Rowcall
from worker.local.stack import Stack
from worker.terminal import Times

DATA = SHARED / "docs"
LEAST_HITS = 16
PAGE = 10  # documents in one request


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what came of it."""

    question: str
    page: str  # the right one
    status: str
    cited: tuple[str, ...]  # the page of each citation
    retrieved: tuple[str, ...]  # the page of each passage in the prompt
    context_bytes: int
    tokens_in: int
    tokens_out: int
    first_ms: float
    finished_ms: float

    @property
    def hit(self) -> bool:
        return self.page in self.cited

    @property
    def found(self) -> bool:
        """Retrieval did its part."""
        return self.page in self.retrieved


def main() -> int:
    options = _parse()
    if not (DATA / "stack_docs.jsonl").exists():
        print(f"docs_faq skipped: {DATA} is not here")
        return 0
    pages, questions = read_rows(DATA / "stack_docs.jsonl"), read_rows(DATA / "stack_faq.jsonl")
    with temporary_stack(workers=1) as stack:
        ingested, asked = asyncio.run(ask_all(stack, pages, questions))
    goal = judge(asked)
    report = summary(asked) | {"ingested": ingested, "goal": asdict(goal), "summary": _verdict(asked, goal)}
    print(json.dumps(report) if options.json else f"{_table(asked, ingested)}\n{_verdict(asked, goal)}")
    return 0 if goal.holds else 1


async def ask_all(
    stack: Stack, pages: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, float], list[Asked]]:
    async with Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **ACCOUNT) as rowcall:
        ingested = await ingest(rowcall, pages)
        with Retrieval(stack, ACCOUNT["email"]) as retrieval:
            return ingested, [await ask(rowcall, retrieval, q["question"], q["doc"]) for q in questions]


async def ingest(rowcall: Rowcall, pages: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    times = Times()
    documents = [
        {
            "source": page["id"],
            "media_type": "text/markdown" if page["id"].endswith(".md") else "text/plain",
            "content": page["text"],
        }
        for page in pages
    ]
    ended: dict[str, dict[str, Any]] = {}
    for first in range(
        0, len(documents), PAGE
    ):  # no more at once: all of them would outwait the model on a busy machine
        written = await rowcall.put_documents(documents[first : first + PAGE])
        ended |= await rowcall.wait_all([document["generation_id"] for document in written])
    failed = [row["error"] for row in ended.values() if row["status"] != "succeeded"]
    assert not failed, failed
    return {
        "documents": len(documents),
        "chunks": sum(r["output"]["chunks"] for r in ended.values()),
        "s": times.since(),
    }


async def ask(rowcall: Rowcall, retrieval: Retrieval, question: str, page: str) -> Asked:
    times = Times()
    async for update in rowcall.ask(question):
        times.note(update)
    row = update.row
    assert row is not None
    passages = retrieval.passages(question)
    return Asked(
        question=question,
        page=page,
        status=row["status"],
        cited=tuple(citation["source"] for citation in row["citations"] or ()),
        retrieved=passages.sources,
        context_bytes=passages.context_bytes,
        tokens_in=row["tokens_in"] or 0,
        tokens_out=row["tokens_out"] or 0,
        first_ms=1000 * (times.first_delta or 0.0),
        finished_ms=1000 * (times.finished or 0.0),
    )


def judge(asked: Sequence[Asked]) -> Goal:
    hits = sum(a.hit for a in asked)
    return Goal(f"the right page is cited for >= {LEAST_HITS}", f"{hits} of {len(asked)}", hits >= LEAST_HITS)


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    hits, found = sum(a.hit for a in asked), sum(a.found for a in asked)
    right, citations = _citations(asked)
    return {
        "questions": [asdict(a) | {"hit": a.hit, "found": a.found} for a in asked],
        "hits": hits,
        "of": len(asked),
        "wilson_95": wilson(hits, len(asked)),
        "retrieved": found,
        "right_citations": right,
        "citations": citations,
        "tokens_in": sum(a.tokens_in for a in asked),
        "tokens_out": sum(a.tokens_out for a in asked),
        "context_bytes": percentile([a.context_bytes for a in asked], 0.5),
    }


def _citations(asked: Iterable[Asked]) -> tuple[int, int]:
    """Those that point to the right page, and all."""
    pairs = [(cited, a.page) for a in asked for cited in a.cited]
    return sum(cited == page for cited, page in pairs), len(pairs)


def _table(asked: Sequence[Asked], ingested: Mapping[str, float]) -> str:
    lines = [f"{ingested['documents']} pages, {ingested['chunks']} chunks, ingested in {ingested['s']:.1f} s"]
    for a in asked:
        right, all_ = _citations([a])
        why = "" if a.hit else "  not cited: " + ("the model did not use it" if a.found else "it was not in the prompt")
        lines.append(
            f"{'hit ' if a.hit else 'MISS'} {right}/{all_} right citations, {a.tokens_in:5} + {a.tokens_out:3} tokens, "
            f"first text {a.first_ms:5.0f} ms, finished {a.finished_ms:5.0f} ms  {a.question[:70]}{why}"
        )
    return "\n".join(lines)


def _verdict(asked: Sequence[Asked], goal: Goal) -> str:
    (low, high), (right, all_) = wilson(sum(a.hit for a in asked), len(asked)), _citations(asked)
    return (
        f"docs_faq {'passes' if goal.holds else 'FAILS'}: right page cited for {goal.found} (95 % interval {low:.2f} "
        f"to {high:.2f}: {len(asked)} questions are an illustration), in the prompt for {sum(a.found for a in asked)}; "
        f"precision {right}/{all_} = {right / max(1, all_):.2f}; "
        f"{sum(a.tokens_in for a in asked) / len(asked):.0f} tokens in, "
        f"{percentile([a.context_bytes for a in asked], 0.5):,.0f} bytes a context call (p50), first text after "
        f"{percentile([a.first_ms for a in asked], 0.5):.0f} ms (p50)"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
