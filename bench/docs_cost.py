"""Questions to real documentation, answered with and without compression, routing and cache: tokens, cost, citations.

    python bench/docs_cost.py [--json] [--svg FILE]

187 pages, 17 questions, each asked in two rounds by every variant, through `rowcall eval`'s own path on the embedded
stack. The local model answers, by quoting; costs are its tokens at the example prices of rowcall.toml. 17 questions are
an illustration. The summary is the last line; exit 1 where a goal is missed.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog
from docs_faq import DATA, ingest
from measuring import Goal
from public_data import read_rows
from rich.console import Console
from staging import ACCOUNT, temporary_stack

from worker.client import Rowcall
from worker.evaluating import Measured, Summary, caveats, summarised
from worker.evaluation_plan import Item, Plan, read_variant
from worker.evaluation_report import evaluation_report, pareto_svg
from worker.evaluation_run import run_variants
from worker.local.stack import Stack

BASELINE = "everything-best"
UNCUT = "context_budget_tokens=20000"
VARIANTS = (
    f"{BASELINE}:quality=best,routes.best.{UNCUT}",
    f"routed:routes.default.{UNCUT}",
    "routed-compressed:",
    "routed-cut-to-700:routes.default.context_budget_tokens=700",
    "routed-compressed-cached:cache.mode=exact",
)
ROUNDS = 2


def main() -> int:
    options = _parse()
    if not DATA.exists():
        print(f"docs_cost skipped: {DATA} is not here")
        return 0
    asked = [Item({"question": q["question"]}, sources=(q["doc"],)) for q in read_rows(DATA / "stack_faq.jsonl")]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with temporary_stack(workers=1) as stack:
        results = asyncio.run(_measure(stack, asked))
    summaries = summarised(results, BASELINE)
    goals = _goals({summary.variant: summary for summary in summaries})
    notes = caveats(len(asked), as_if=True)
    if options.svg:
        options.svg.write_text(pareto_svg(summaries), encoding="utf-8")
    if options.json:
        print(json.dumps({"variants": [asdict(s) for s in summaries], "goals": [asdict(g) for g in goals]}))
    else:
        Console(width=100).print(evaluation_report(summaries, BASELINE, notes), highlight=False)
        print(*goals, sep="\n")
    print(_verdict(summaries, goals), file=sys.stderr if options.json else sys.stdout)
    return 0 if all(goal.holds for goal in goals) else 1


async def _measure(stack: Stack, asked: Sequence[Item]) -> dict[str, list[Measured]]:
    async with Rowcall.signed_in(stack.url, stack.publishable_key, sign_up=True, **ACCOUNT) as rowcall:
        await ingest(rowcall, read_rows(DATA / "stack_docs.jsonl"))
        variants = tuple(read_variant(text) for text in VARIANTS)
        rounds = []
        for _ in range(ROUNDS):  # a cached answer is there from the second on
            plan = Plan(variants, tuple(asked), BASELINE, at_once=1)
            rounds.append(await run_variants(plan, stack.environment(), rowcall, lambda _name: None))
    return {variant.name: [m for found in rounds for m in found[variant.name]] for variant in variants}


def _goals(found: Mapping[str, Summary]) -> list[Goal]:
    best, cut, cached = (found[name] for name in (BASELINE, "routed-compressed", "routed-compressed-cached"))
    fewer, again = 1 - cut.tokens_in / best.tokens_in, cached.questions // ROUNDS
    cited = f"{cut.quality:.3f} beside {best.quality:.3f}"
    return [
        Goal("compression sends >= 50 % fewer tokens", f"{100 * fewer:.0f} %", fewer >= 0.5),
        Goal("and cites the right page as often", cited, cut.quality >= best.quality),
        Goal("what is asked again comes from the cache", f"{cached.reused} of {again}", cached.reused > 0),
    ]


def _verdict(summaries: Sequence[Summary], goals: Sequence[Goal]) -> str:
    parts = [f"{s.variant} {100 * s.quality:.0f} % cited at ${s.cost_usd or 0:.5f}" for s in summaries]
    return f"docs_cost: {sum(g.holds for g in goals)} of {len(goals)} goals; {', '.join(parts)}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="where to draw quality by cost")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
