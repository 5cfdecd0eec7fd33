from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from worker.reports import advised, dead_report, dollars, status_report, unfindable, usage_report

STATUS: dict[str, Any] = {
    "at": "2026-11-25T22:24:06.744689+00:00",
    "window_s": 3600.0,
    "open": [
        {"lane": "bulk", "kind": "ingest", "status": "queued", "rows": 7, "waiting": 0, "oldest_s": 90.0},
        {"lane": "bulk", "kind": "ingest", "status": "running", "rows": 2, "waiting": 0, "oldest_s": 1.0},
    ],
    "ended": {"succeeded": 3},
    "codes": [],
    "workers": [],
    "lost_leases": 0,
    "today": {"calls": 4, "cost_usd": 0.25, "unpriced_calls": 0},
    "embedding_models": ["a"],
    "embedding_model": "a",
    "queue": None,
}
LINE = {"model": "m", "calls": 1, "failed": 0, "abandoned": 0, "unpriced": 0, "tokens_in": 1, "tokens_cached": 0,
        "tokens_out": 2, "cost_usd": 0.5, "reused": 0, "saved_usd": 0, "checked": 0, "escalated": 0}  # fmt: skip


def printed(report: RenderableType) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(report)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def usage(lines: list[dict[str, Any]], *by: str) -> str:
    return printed(usage_report(lines, by or ("model",), 80))


def test_a_status_fits_a_terminal_of_80_columns() -> None:
    text = printed(status_report(STATUS, "https://project.supabase.co · .env"))
    assert max(len(line) for line in text.splitlines()) <= 80
    [row] = [line for line in text.splitlines() if line.startswith("bulk")]
    assert row.split() == ["bulk", "ingest", "7", "0", "2", "1.5", "min"]


def test_a_long_kind_goes_on_in_the_next_line_and_its_numbers_are_whole() -> None:
    row = {"lane": "bulk", "kind": 7 * "a_long_kind", "status": "queued", "rows": 123_456_789, "waiting": 123_456_789}
    text = printed(status_report(STATUS | {"open": [row | {"oldest_s": 90.0}]}, "p"))
    assert text.count("123,456,789") == 2
    assert "…" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "does `rowcall worker` run?"),
        ({"lost_leases": 1}, "1 attempt has lost its worker"),
        ({"lost_leases": 2}, "2 attempts have lost their worker"),
        ({"today": {"calls": 1, "cost_usd": 0, "unpriced_calls": 1}}, "no known price"),
    ],
)
def test_a_status_says_what_to_look_at(change: dict[str, Any], says: str) -> None:
    assert any(says in line for line in advised(STATUS | change))
    assert says in printed(status_report(STATUS | change, "p")).replace("\n", " ")


@pytest.mark.parametrize(
    ("configured", "stored", "says"),
    [
        ("a", ["a"], []),
        ("a", [], []),
        (None, ["b"], []),
        (None, ["b", "c"], ["several embedding models"]),
        ("a", ["a", "b", "[c]"], ["no chunk of b, \\[c]: `rowcall ingest --reembed`"]),
        ("a", ["b"], ["no chunk of b: `rowcall ingest --reembed`"]),
    ],
)
def test_a_status_says_which_chunks_no_question_finds(
    configured: str | None, stored: list[str], says: list[str]
) -> None:
    lines = unfindable(configured, stored)
    assert len(lines) == len(says)
    assert all(expected in line for expected, line in zip(says, lines, strict=True))
    status = STATUS | {"embedding_model": configured, "embedding_models": stored}
    text = " ".join(printed(status_report(status, "p")).split())
    assert all(line.replace("\\[", "[") in text for line in lines)


def test_what_stands_in_redis_is_shown_where_it_is_known() -> None:
    lanes = [{"lane": "interactive", "waiting": 0, "oldest_s": 0.0}, {"lane": "bulk", "waiting": 7, "oldest_s": 90.0}]
    text = printed(status_report(STATUS | {"queue": {"scheduled": 3, "lanes": lanes}}, "p"))
    assert "interactive 0 waiting · bulk 7 waiting for 1.5 min · 3 scheduled" in text
    assert "Redis: gone" in printed(status_report(STATUS | {"queue": {"problem": "Redis: gone"}}, "p"))


def test_a_healthy_status_gives_no_advice() -> None:
    assert advised(STATUS | {"workers": [{"worker": "w", "running": 2, "lease_s": 9.0}]}) == []


def test_sums_of_the_ledger_have_a_total_and_mark_what_has_no_price() -> None:
    text = usage([LINE, LINE | {"model": None, "unpriced": 1}])
    assert text.splitlines()[-2].split() == ["total", "2", "0", "2", "0", "4", "1.0000+"]
    assert "unknown price" in text


def test_what_the_cache_spared_is_said_where_it_spared_anything() -> None:
    assert "spared" not in usage([LINE])
    spared = usage([LINE | {"reused": 3, "saved_usd": 0.25}])
    assert "3 calls were spared by the cache: 0.2500 USD" in spared


def test_the_share_of_escalations_is_said_where_answers_were_checked() -> None:
    assert "checked" not in usage([LINE])
    checked = usage([LINE | {"checked": 1_000, "escalated": 120}, LINE])
    assert "1,000 answers were checked, 120 (12%) failed" in checked


DAY = LINE | {"day": "2026-11-26", "model": "local/all-MiniLM-L6-v2", "tenant": "0a21a41e-87d1-70bc-95c0-dc194a4c596d"}
MUCH = {"calls": 1_234_567, "tokens_in": 12_345_678_901, "tokens_cached": 12_345_678_901, "tokens_out": 1_234_567_890,
        "cost_usd": 123_456.789}  # fmt: skip


def test_names_stand_beside_their_numbers_where_there_is_room() -> None:
    head, line = usage([DAY], "model").splitlines()
    assert head.split() == ["model", "calls", "failed", "tokens", "in", "cached", "out", "USD"]
    assert line.split() == [DAY["model"], "1", "0", "1", "0", "2", "0.5000"]
    assert len(head) == len(line)


def test_numbers_that_need_the_room_stand_below_their_names_and_are_whole() -> None:
    lines = usage([DAY, DAY | MUCH], "day", "tenant", "model").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[4] == f"2026-11-26 · {DAY['tenant']} · local/all-MiniLM-L6-v2"
    numbers = ["1,234,567", "0", "12,345,678,901", "12,345,678,901", "1,234,567,890", "123,456.7890"]
    assert lines[5].split() == numbers


def test_a_number_that_no_line_holds_goes_on_in_the_next() -> None:
    most = dict.fromkeys(("calls", "failed", "tokens_in", "tokens_cached", "tokens_out"), 10**20)
    shown = usage([DAY | most])
    assert "…" not in shown
    assert "".join(shown.split()).count(f"{10**20:,}") == 5


def test_small_sums_are_not_shown_as_nothing() -> None:
    assert [dollars(cost, 0) for cost in (0, 0.0000123, 0.0123, 1234.5)] == [
        "0.0000",
        "1.2e-05",
        "0.0123",
        "1,234.5000",
    ]


DEAD = {"id": "00000000-0000-4000-8000-000000000000", "kind": "complete", "status": "failed", "target": None,
        "tries": 1, "finished_at": STATUS["at"], "error_code": "a.b", "error_message": "no"}  # fmt: skip


def test_an_error_s_text_is_shown_as_it_is() -> None:
    assert "[red]not markup[/red]" in printed(dead_report([DEAD | {"error_message": "[red]not markup[/red]"}]))


def test_the_dead_fit_a_terminal_of_80_columns_and_their_ids_are_whole() -> None:
    target = {"status": "succeeded", "target": "public.posts.summary", "error_code": "target.failed"}
    text = printed(dead_report([DEAD, DEAD | target | {"error_message": "words " * 40}]))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count(str(DEAD["id"])) == 2
    assert "answered, column not filled" in text
    assert "2026-11-25 22:24:06 UTC · 1 try · public.posts.summary" in text
