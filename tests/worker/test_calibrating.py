"""Answers to calibrate from, the file of weights, and what is said of a calibration; the run itself is in tests/e2e."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jobs.decisions.calibrating import Judgement, Policy, Router
from jobs.decisions.predicting import Predictor
from jobs.decisions.pricing import Price
from jobs.decisions.prompting import Message
from jobs.decisions.statistics import Interval
from jobs.questions import Question
from tests.worker.test_settings import ENVIRONMENT, REPOSITORY
from worker.calibrating import CalibrationError, Graded, Source, rated, read_answers, tabled
from worker.calibration_run import Calibration, Wanted, listed_prices
from worker.calibration_show import as_dict, calibration_report, verdict
from worker.prior import read_predictor
from worker.router_file import Header, StoredRouter, UnreadableRouter, read_router, write_router
from worker.settings import ConfigurationError, load

PRICES = {"default": Price(1.0, 0.1, 4.0), "strong": Price(10.0, 1.0, 40.0), "best": None}
ANSWER = {"status": "succeeded", "reused": False, "quality": 0.5, "tokens_in": 1_000_000, "tokens_out": 0}


def graded(quality: float) -> list[Graded]:
    return [Graded(quality, 1_000_000, 0)]


def source(count: int, *, strong: int | None = None) -> Source:
    """So many questions of default, and of strong."""
    asked: dict[Question, dict[str, list[Graded]]] = {Question(f"{n}?"): {"default": graded(0.5)} for n in range(count)}
    for n in range(count if strong is None else strong):
        asked.setdefault(Question(f"{n}?"), {})["strong"] = graded(1.0)
    return Source("a file", 100, asked)


# Sources


def test_answers_of_an_evaluation_are_brought_together_by_question_and_route(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "Of birds:"}]
    report = {
        "variants": [],
        "notes": [],
        "inputs": [{"question": "a?"}, {"question": "b?", "history": history}, {"question": "a?"}],
        "questions": {
            "small": [ANSWER | {"route": "default", "quality": q} for q in (0.0, 0.25, 1.0)],
            "large": [
                ANSWER | {"route": "strong"},
                ANSWER | {"route": None, "status": "failed"},
                ANSWER | {"route": "strong", "reused": True},
            ],
        },
    }
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(report, indent=2))
    read = read_answers(path)
    assert read.left_out == 2
    assert read.answers == {
        Question("a?"): {"default": graded(0.0) + graded(1.0), "strong": graded(0.5)},
        Question("b?", (Message("user", "Of birds:"),)): {"default": graded(0.25)},
    }


def test_answers_may_come_from_elsewhere_a_question_a_line(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    answers = {"default": {"quality": 0.5, "tokens_in": 7, "tokens_out": 3}}
    path.write_text(json.dumps({"question": "a?", "answers": answers}) + "\n\n")
    assert read_answers(path).answers == {Question("a?"): {"default": [Graded(0.5, 7, 3)]}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ":1 is no JSON"),
        ('{"question": "a?"}', ":1 is no {"),
        ('{"question": "a?"}', "nor is the file what `rowcall eval --json` prints"),
        ('{"question": "a?", "answers": {"r": {"quality": 2, "tokens_in": 1, "tokens_out": 1}}}', "from 0 to 1"),
        ('{"prompt": "a?", "answers": {"r": {"quality": 1, "tokens_in": 1, "tokens_out": 1}}}', "has no question"),
        ('{"variants": [], "questions": {"v": [{}]}}', "not what `rowcall eval --json` prints"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=r"own\.jsonl") as refused:
        read_answers(path)
    assert says in str(refused.value)


def test_ratings_of_the_same_question_are_one_question() -> None:
    rows = [{"id": n, "input": {"question": "a?"}, "route": "default", "quality": n} for n in (0.0, 1.0)]
    read = rated([row | {"tokens_in": 1, "tokens_out": 1} for row in rows], 30)
    assert len(read.answers) == 1
    assert read.least == 200


def test_costs_are_of_the_listed_prices_and_a_route_that_was_not_asked_is_a_gap() -> None:
    measured = tabled(source(150, strong=120), (), PRICES)
    assert measured.routes == ("default", "strong")
    assert (measured.counts, measured.gaps) == ({"default": 150, "strong": 120}, 30)
    assert measured.costs[0].tolist() == [1.0, 10.0]
    assert np.isnan(measured.qualities[149, 1])


@pytest.mark.parametrize(
    ("given", "routes", "says"),
    [
        (source(150, strong=34), (), r"default 150, strong 34\. At least 100"),
        (source(150), ("default",), "only default has answered, so there is nothing to choose between"),
        (source(150), ("default", "large"), "large is no name"),
        (Source("s", 1, {Question("a?"): {"default": graded(1), "best": graded(1)}}), (), "model of route best"),
        (Source("s", 1, {}), (), "s: there is no answer to learn from"),
        (replace(source(150), answers={Question("?"): {"old": graded(1)}}), (), "old is no name"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_its_reason(
    given: Source, routes: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CalibrationError, match=says):
        tabled(given, routes, PRICES)


def test_routes_that_cost_the_same_leave_no_choice() -> None:
    with pytest.raises(CalibrationError, match="cost the same"):
        tabled(source(150), (), {"default": Price(1, 1, 1), "strong": Price(1, 1, 1)})


def test_the_shipped_routes_are_priced_also_where_the_local_model_answers_for_them() -> None:
    local = ENVIRONMENT | {"ROWCALL_LOCAL_MODEL_URL": "http://127.0.0.1:9/v1"}
    assert listed_prices(load(local)) == listed_prices(load(ENVIRONMENT))
    assert all(listed_prices(load(local)).values())


# The file


HEADER = Header(("default", "strong"), (0.0, 1.0), 0.37, "text-embedding-3-small", "now", "eval.json", 150, 0.99, {})


def written(tmp_path: Path, header: Header = HEADER) -> Path:
    path = tmp_path / "weights"  # without an ending: the name is the user's
    write_router(StoredRouter(read_predictor(), header), path)
    return path


def test_a_router_is_read_as_it_was_written(tmp_path: Path) -> None:
    read = read_router(written(tmp_path))
    assert read.header == HEADER
    assert all((array == read_predictor().arrays()[name]).all() for name, array in read.predictor.arrays().items())


def configured(tmp_path: Path, classifier: str) -> dict[str, str]:
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    (tmp_path / "rowcall.toml").write_text(shipped.replace("routes = []", classifier).replace('weights = ""', "#"))
    return ENVIRONMENT | {"ROWCALL_CONFIG": str(tmp_path / "rowcall.toml")}


@pytest.mark.parametrize(("more", "price_weight"), [("", 0.37), ("\nprice_weight = 0.5", 0.5)])
def test_weights_beside_rowcall_toml_are_used_with_their_own_price_weight_or_the_one_given(
    tmp_path: Path, more: str, price_weight: float
) -> None:
    written(tmp_path)
    environ = configured(tmp_path, f'routes = ["strong", "default"]\nweights = "weights"{more}')
    classifier = load(environ).read_routing().classifier
    assert classifier is not None
    assert classifier.price_weight == price_weight
    assert [(c.route, c.column, c.price) for c in classifier.candidates] == [("default", 0, 0.0), ("strong", 1, 1.0)]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (replace(HEADER, embedding_model="other"), "vectors of other, but [embedding] names text-embedding-3-small"),
        (
            replace(HEADER, routes=("default", "best")),
            "routes default, best, but classifier.routes are default, strong",
        ),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused_with_both_names(
    tmp_path: Path, header: Header, says: str
) -> None:
    written(tmp_path, header)
    environ = configured(tmp_path, 'routes = ["default", "strong"]\nweights = "weights"')
    with pytest.raises(ConfigurationError) as refused:
        load(environ).read_routing()
    assert says in str(refused.value)


def test_weights_that_are_not_there_or_no_weights_are_named(tmp_path: Path) -> None:
    environ = configured(tmp_path, 'routes = ["default", "strong"]\nweights = "weights"')
    with pytest.raises(ConfigurationError, match="weights cannot be read: No such file"):
        load(environ).read_routing()
    (tmp_path / "weights").write_text("words")
    with pytest.raises(ConfigurationError, match="is no file of `rowcall calibrate --write`"):
        load(environ).read_routing()


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_no_file_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("w") / "weights"
    path.write_bytes(content)
    with pytest.raises(UnreadableRouter):
        read_router(path)


def test_three_routes_want_weights_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be two names"):
        load(configured(tmp_path, 'routes = ["default", "strong", "best"]'))
    load(configured(tmp_path, 'routes = ["default", "strong", "best"]\nweights = "w"'))


# What is said


def judgement(gain: float = 0.1, kept: float = 1.0, saved: float = 0.4) -> Judgement:
    def around(value: float) -> Interval:
        return Interval(value, value - 0.01, value + 0.01)

    named = {"router": (kept, saved), "random mix": (0.9, saved), "best": (1.0, 0.0), "cheapest": (0.8, 0.9)}
    policies = tuple(Policy(name, 0.8, around(k), 0.00123, around(s)) for name, (k, s) in named.items())
    return Judgement(policies, around(gain), 0.99)


def calibration(made: Judgement) -> Calibration:
    measured = tabled(source(150, strong=120), (), PRICES)
    predictor: Predictor = read_predictor()
    return Calibration(source(150, strong=120), measured, Router(predictor, np.array([0.0, 1.0]), 0.37), made)


def shown(made: Judgement, write: Path | None) -> str:
    console = Console(width=80, record=True, file=StringIO())
    console.print(calibration_report(calibration(made), Wanted(None, 90, (), 0.99, write)))
    return console.export_text()


@pytest.mark.parametrize(
    ("made", "pays", "says"),
    [
        (judgement(), True, "Better than a random mix"),
        (judgement(gain=0.005), False, "Not clearly better than a random mix of the same cost"),
        (judgement(kept=0.95), False, "less than the 99 % wanted"),
        (judgement(saved=0.005), False, "does not clearly cost less"),
    ],
)
def test_the_verdict_says_whether_to_turn_it_on(made: Judgement, pays: bool, says: str) -> None:  # noqa: FBT001 - a case
    assert made.pays is pays
    assert says in verdict(made)
    assert ("do not turn it on" in verdict(made)) is not pays


def test_the_report_fits_80_columns_and_says_what_to_do(tmp_path: Path) -> None:
    text = shown(judgement(), Path("routing.npz"))
    assert max(map(len, text.splitlines())) <= 80
    for said in (
        "always the cheapest",
        "default 150, strong 120",
        "30 questions lack",
        'routes = ["default", "strong"]',
    ):
        assert said in text
    assert "is not written" in shown(judgement(gain=0), tmp_path)
    assert "do not turn it on" in " ".join(shown(judgement(gain=0), None).split())


def test_the_json_has_the_figures_and_whether_anything_was_written() -> None:
    made = calibration(judgement())
    said: Mapping[str, Any] = json.loads(json.dumps(as_dict(made, Wanted(None, 90, (), 0.99, Path("w")))))
    assert (said["pays"], said["written"], said["price_weight"]) == (True, "w", 0.37)
    assert said["held_out"]["router"]["saved"]["low"] == pytest.approx(0.39)
    assert as_dict(calibration(judgement(gain=0)), Wanted(None, 90, (), 0.99, Path("w")))["written"] is None


def test_beside_a_best_route_that_is_free_nothing_is_saved_and_nothing_is_turned_on() -> None:
    free = judgement(saved=math.nan)
    assert not free.pays
    assert "do not turn it on" in verdict(free)
    said = as_dict(calibration(free), Wanted(None, 90, (), 0.99, None))
    assert json.loads(json.dumps(said, allow_nan=False))["held_out"]["router"]["saved"] is None
