"""What answers are worth, and variants beside each other; the run itself is in tests/e2e."""

import json
import re
from dataclasses import replace
from io import StringIO
from xml.dom import minidom

import pytest
from rich.console import Console

from jobs.decisions.pricing import Price
from jobs.ports import ModelName
from worker.evaluating import Measured, as_json, caveats, measured, summarised
from worker.evaluation_plan import Item
from worker.evaluation_report import evaluation_report, pareto_svg
from worker.ports import Closing

ROW = {
    "status": "succeeded",
    "answer": "It lasts 15 seconds [1].",
    "citations": [{"source": "a.md"}],
    "cost_usd": None,
    "route": "default",
    "output": None,
    "tokens_in": 1_000_000,
    "tokens_cached": 0,
    "tokens_out": 0,
    "started_at": "2026-11-26T10:00:00+00:00",
    "first_token_at": "2026-11-26T10:00:00.250+00:00",
    "finished_at": "2026-11-26T10:00:02+00:00",
}
ITEM = Item({"question": "How long?"}, answers=("it lasts 15 seconds",), sources=("a.md",))


def test_an_answer_is_judged_by_its_reference_and_its_citations() -> None:
    found = measured(ROW, ITEM, None)
    assert (found.f1, found.contained, found.cited, found.quality) == (1.0, True, True, 1.0)
    assert (found.first_ms, found.finished_ms) == (250, 2000)
    assert found.cost_usd is None
    failed = measured({**ROW, "status": "failed", "answer": None, "citations": None}, ITEM, None)
    assert (failed.f1, failed.contained, failed.cited, failed.quality) == (0.0, False, False, 0.0)


def test_a_local_answer_costs_what_the_route_s_model_would_and_a_cached_one_nothing() -> None:
    prices = {"default": Price(2.0, 1.0, 8.0)}
    assert measured({**ROW, "cost_usd": 0.0}, ITEM, prices).cost_usd == 2.0
    cached = {**ROW, "output": {"warnings": ["answer.cached: fresh, given 5 s ago to the same question"]}}
    assert measured(cached, ITEM, prices) == replace(measured(ROW, ITEM, prices), cost_usd=0.0, reused=True)
    assert measured({**ROW, "route": "another"}, ITEM, prices).cost_usd is None


def test_each_call_of_a_cascade_costs_what_its_own_route_costs() -> None:
    prices = {"default": Price(2.0, 1.0, 8.0), "strong": Price(20.0, 1.0, 80.0)}
    calls = [
        Closing(route or "embed", "succeeded", ModelName("local", "m"), route, 1, tokens_in=500_000, tokens_out=0)
        for route in ("default", "strong")
    ]
    assert measured({**ROW, "route": "strong"}, ITEM, prices, calls).cost_usd == 11.0
    assert measured({**ROW, "route": "strong"}, ITEM, {"strong": prices["strong"]}, calls).cost_usd is None


def test_what_is_free_saves_no_share_and_is_json_all_the_same() -> None:
    results = {name: [result(1.0, usd), result(0.0, usd)] for name, usd in (("free", 0.0), ("dear", 0.5))}
    for baseline, saved in (("free", None), ("dear", 1.0)):
        summaries = summarised(results, baseline)
        told = json.loads(as_json(summaries, results, [ITEM, ITEM], []))["variants"]
        share = told[0 if baseline == "dear" else 1]["saved_share"]
        assert (None if share is None else share["estimate"]) == saved


def result(quality: float, usd: float | None) -> Measured:
    return Measured("succeeded", quality, None, None, usd, 10, 5, 100.0, 200.0, "default", reused=False)


def test_savings_and_gains_are_beside_the_baseline() -> None:
    base, cheap = summarised({"best": [result(0.5, 1.0)] * 4, "cheap": [result(0.75, 0.25)] * 4}, "best")
    assert (base.quality_gain.estimate, base.cost_usd) == (0, 4.0)
    assert cheap.quality_gain.estimate == pytest.approx(0.25)
    assert cheap.saved_share is not None
    assert cheap.saved_share.estimate == pytest.approx(0.75)


def test_an_unknown_cost_is_unknown_in_every_sum() -> None:
    base, cheap = summarised({"best": [result(1, 1.0)], "cheap": [result(1, None)]}, "best")
    assert (cheap.cost_usd, cheap.saved_share) == (None, None)
    assert base.saved_share is not None


def test_the_table_fits_80_columns_and_says_what_the_numbers_are() -> None:
    summaries = summarised({"best": [result(0.5, 1.0)] * 9, "a-longer-name": [result(0.7, 0.25)] * 9}, "best")
    console = Console(width=80, record=True, file=StringIO())
    console.print(evaluation_report(summaries, "best", caveats(9, as_if=True)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for said in (
        "a-longer-name",
        "75 [75 75]",
        "+20",
        "fewer than 100 questions",
        "the local model answered",
    ):
        assert said in text


def test_no_number_of_the_table_is_broken_where_all_are_large() -> None:
    def large(quality: float, usd: float) -> Measured:
        tokens = replace(result(quality, usd), tokens_in=12_345, tokens_out=1_234)
        return replace(tokens, first_ms=12_345.0, finished_ms=112_345.0)

    results = {"best": [large(0.5, 100.0)] * 12, "a-name-that-is-rather-long": [large(0.25, 1350.0)] * 12}
    console = Console(width=80, record=True, file=StringIO())
    console.print(evaluation_report(summarised(results, "best"), "best", ()), highlight=False)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert all(number in text for number in ("1200.00", "16200.00", "12345+1234", "112345", "-1250"))


def test_the_picture_names_every_variant_and_is_well_formed() -> None:
    summaries = summarised({"best": [result(0.9, 1.0)], "a<b": [result(0.7, 0.0)], "?": [result(1, None)]}, "best")
    drawn = minidom.parseString(pareto_svg(summaries))  # noqa: S318 - our own
    names = [element.firstChild.toxml() for element in drawn.getElementsByTagName("text") if element.firstChild]
    assert "best" in names
    assert "a&lt;b" in names
    assert "?" not in names  # its cost is unknown


@pytest.mark.parametrize("most", [0.000_013, 0.0193, 0.9, 1.0, 7.3, 1234.0])
def test_costs_are_marked_at_round_figures(most: float) -> None:
    drawn = minidom.parseString(pareto_svg(summarised({"a": [result(1, most)]}, "a")))  # noqa: S318 - our own
    texts = [element.firstChild.toxml() for element in drawn.getElementsByTagName("text") if element.firstChild]
    marks = [float(text) for text in texts if re.fullmatch(r"[0-9.e+-]+", text)]
    assert 3 <= len(marks) <= 7
    assert marks[0] == 0
    assert 0.7 * most <= marks[-1] <= 1.1 * most
    assert f"{marks[1]:.0e}"[0] in "125"


def test_the_picture_of_nothing_is_a_picture() -> None:
    minidom.parseString(pareto_svg(()))  # noqa: S318 - our own


def test_results_are_json() -> None:
    results = {"best": [result(0.5, 1.0)]}
    assert json.loads(as_json(summarised(results, "best"), results, [ITEM], ["a note"]))["notes"] == ["a note"]
