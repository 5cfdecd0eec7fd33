"""Well-rated answers as examples: made, embedded, listed and taken away by an operator, who reads none of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape

from worker.operating import PAGE, Operator, print_value


async def promote(operator: Operator, days: int, embedding_model: str, *, as_json: bool) -> bool:
    """Makes examples of what was rated up in the last `days`, and has them embedded."""
    async with operator.connected() as operations:
        since = datetime.now(UTC) - timedelta(days=days)
        rated = [row async for row in operations.promote(since, PAGE)]
        learned = [row async for row in operations.learn(embedding_model, PAGE)]
    left_out = {row["generation_id"]: row["problem"] for row in rated if row["problem"]}
    promoted = [row["generation_id"] for row in rated if not row["problem"]]

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        _show_problems(console, "not promoted", list(left_out.values()))
        _show_learning(console, learned)
        console.print(f"{len(promoted)} promoted")

    value = {"promoted": promoted, "not_promoted": _problems(left_out), **_learning(learned)}
    print_value(value, as_json=as_json, shown=shown)
    return True


async def learn(operator: Operator, embedding_model: str, *, as_json: bool) -> bool:
    """Has every example embedded that questions cannot find. False: one of them cannot be."""
    async with operator.connected() as operations:
        learned = [row async for row in operations.learn(embedding_model, PAGE)]

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        _show_learning(console, learned)

    print_value(_learning(learned), as_json=as_json, shown=shown)
    return not any(row["problem"] for row in learned)


async def show_examples(operator: Operator, max_rows: int, embedding_model: str | None, *, as_json: bool) -> bool:
    async with operator.connected() as operations:
        rows = await operations.examples(max_rows)

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        for row in rows:
            origin = f"of {row['generation_id']}" if row["generation_id"] else "written by hand"
            console.print(f"[bold]{row['id']}[/bold] {escape(row['kind'])} · {origin}", highlight=False)
            console.print(f"  [dim]{_whose(row)}[/dim]", highlight=False)
            facts = f"{row['created_at'][:10]} · {row['characters']:,} characters"
            console.print(f"  [dim]{facts} · {_found(row, embedding_model)}[/dim]", highlight=False)
        if not rows:
            console.print("there are no examples: `rowcall examples promote` makes some of well-rated answers")

    print_value(rows, as_json=as_json, shown=shown)
    return True


async def remove(operator: Operator, ids: Sequence[int], *, as_json: bool) -> bool:
    """False: one of them does not exist."""
    async with operator.connected() as operations:
        removed = set(await operations.remove_examples(ids))
    missing = [id for id in ids if id not in removed]

    def shown(console: Console) -> None:
        console.print(f"[dim]{operator.project}[/dim]", soft_wrap=True)
        for id in missing:
            console.print(f"[yellow]not removed[/yellow] {id}: it does not exist", highlight=False)
        console.print(f"{len(removed)} removed")

    print_value({"removed": sorted(removed), "not_removed": missing}, as_json=as_json, shown=shown)
    return not missing


def _whose(row: Mapping[str, Any]) -> str:
    return f"owner {row['user_id']}" if row["user_id"] else f"whoever reads document {row['document_id']}"


def _found(row: Mapping[str, Any], embedding_model: str | None) -> str:
    stored = row["embedding_model"]
    if stored is None:
        return "not embedded yet"
    return "found" if embedding_model in (None, stored) else f"embedded by {escape(stored)}: `rowcall examples learn`"


def _learning(learned: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_id = {row["id"]: row["problem"] for row in learned if row["problem"]}
    return {"learning": [row["id"] for row in learned if not row["problem"]], "not_learning": _problems(by_id)}


def _problems(problems: Mapping[Any, str]) -> list[dict[str, Any]]:
    return [{"id": id, "problem": problem} for id, problem in problems.items()]


def _show_learning(console: Console, learned: Sequence[Mapping[str, Any]]) -> None:
    _show_problems(console, "not learning", [row["problem"] for row in learned if row["problem"]])
    console.print(f"{sum(not row['problem'] for row in learned)} being embedded by the workers")


def _show_problems(console: Console, what: str, problems: Sequence[str]) -> None:
    for problem, count in Counter(problems).most_common():
        console.print(f"[yellow]{count} {what}[/yellow]: {escape(problem)}", highlight=False)
