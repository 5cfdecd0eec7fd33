from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jobs.decisions.predicting import Predictor, raw_features, train
from jobs.decisions.routing import (
    Candidate,
    Choice,
    Classifier,
    Routing,
    Rule,
    Traits,
    calibrated_price_weight,
    choose_route,
    tags_of,
)
from jobs.ports import Vectors

ROUTES = ("default", "strong", "best")
KINDS = st.sampled_from(["answer", "complete"])
QUALITY = st.sampled_from(["auto", "fast", "best"])
TAGS = st.frozensets(st.sampled_from(["legal", "code"]))

traits = st.builds(
    Traits,
    kind=KINDS,
    text=st.text(max_size=20),
    tokens=st.integers(0, 1000),
    quality=QUALITY,
    tags=TAGS,
    history_turns=st.integers(0, 4),
    budget_left_share=st.none() | st.floats(-1, 1),
)
rules = st.builds(
    Rule,
    name=st.sampled_from("abc"),
    route=st.sampled_from(ROUTES),
    kinds=st.frozensets(KINDS),
    quality=st.frozensets(QUALITY),
    tags=TAGS,
    min_tokens=st.integers(0, 1000),
    max_tokens=st.none() | st.integers(0, 1000),
    min_history_turns=st.integers(0, 4),
    max_budget_left_share=st.none() | st.floats(0, 1),
)


@given(traits, st.lists(rules, max_size=5))
def test_the_first_rule_that_fits_decides_and_else_the_usual_route(traits: Traits, rules: list[Rule]) -> None:
    choice = choose_route(traits, Routing(tuple(rules)))
    fitting = [rule for rule in rules if rule.fits(traits)]
    expected = Choice(fitting[0].route, f"rule:{fitting[0].name}") if fitting else Choice("default", "default")
    assert choice == expected


@given(traits)
def test_a_rule_that_gives_nothing_fits_all(traits: Traits) -> None:
    assert Rule("any", "best").fits(traits)


@pytest.mark.parametrize(
    ("given", "fits", "fits_not"),
    [
        ({"kinds": frozenset({"answer"})}, {}, {"kind": "complete"}),
        ({"quality": frozenset({"best"})}, {"quality": "best"}, {}),
        ({"tags": frozenset({"legal", "tax"})}, {"tags": frozenset({"tax", "x"})}, {"tags": frozenset({"x"})}),
        ({"min_tokens": 10}, {"tokens": 10}, {"tokens": 9}),
        ({"max_tokens": 10}, {"tokens": 10}, {"tokens": 11}),
        ({"min_history_turns": 2}, {"history_turns": 2}, {"history_turns": 1}),
        ({"max_budget_left_share": 0.1}, {"budget_left_share": 0.1}, {"budget_left_share": 0.2}),
        ({"max_budget_left_share": 1.0}, {"budget_left_share": -0.5}, {"budget_left_share": None}),
    ],
)
def test_each_condition_of_a_rule_bites(given: Any, fits: Any, fits_not: Any) -> None:
    rule, usual = Rule("r", "best", **given), {"kind": "answer", "text": "?", "tokens": 5}
    assert rule.fits(Traits(**{**usual, **fits}))
    assert not rule.fits(Traits(**{**usual, **fits_not}))


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_a_client_sends_as_tags_only_texts_of_a_list_count(tags: Any) -> None:
    expected = {tag for tag in tags if isinstance(tag, str)} if isinstance(tags, list) else set()
    assert tags_of({"tags": tags}) == expected


# The classifier


def vectors(count: int) -> Vectors:
    drawn = np.random.default_rng(0).standard_normal((count, 384))
    unit: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def learned() -> tuple[Predictor, list[str], Vectors]:
    """A large model that solves equations and a small one that does not; both know birds."""
    texts = [f"Solve {n} x + {n + 1} = {3 * n}." if n % 2 else f"Which bird sings, number {n}?" for n in range(200)]
    scores = np.array([[0.0, 1.0] if n % 2 else [1.0, 1.0] for n in range(200)])
    predictor = train(raw_features(texts, vectors(200)), scores, np.random.default_rng(1).permutation(200))
    return predictor, texts, vectors(200)


PREDICTOR, TEXTS, VECTORS = learned()


def picked(price_weight: float, text: str) -> str:
    candidates = (Candidate("default", 0, 0.0), Candidate("strong", 1, 1.0))
    routing = Routing(classifier=Classifier(PREDICTOR, candidates, price_weight))
    choice = choose_route(Traits("answer", text, 9), routing, VECTORS[0])
    assert choice.reason == "classifier"
    return choice.route


def test_a_question_that_the_small_model_fails_goes_to_the_large_one_and_others_do_not() -> None:
    assert picked(0.3, "Solve 7 x + 9 = 12.") == "strong"
    assert picked(0.3, "Which bird sings, number 31?") == "default"


def test_a_rule_comes_before_the_classifier_and_without_a_vector_there_is_none() -> None:
    classifier = Classifier(PREDICTOR, (Candidate("strong", 1, 1.0),), 0.0)
    routing = Routing((Rule("r", "best", quality=frozenset({"best"})),), classifier)
    asked = Traits("answer", "Solve x.", 9)
    assert choose_route(Traits("answer", "Solve x.", 9, quality="best"), routing, VECTORS[0]).reason == "rule:r"
    assert choose_route(asked, routing, VECTORS[0]) == Choice("strong", "classifier")
    assert choose_route(asked, routing) == Choice("default", "default")


@given(st.floats(0, 2), st.floats(0, 2), st.sampled_from(TEXTS))
def test_the_dearer_a_unit_of_price_the_cheaper_the_route(one: float, other: float, text: str) -> None:
    low, high = sorted((one, other))
    assert not (picked(low, text) == "default" and picked(high, text) == "strong")


@given(hnp.arrays(np.float64, (30, 3), elements=st.floats(0, 1)), st.floats(0.5, 1.0))
def test_a_calibrated_weight_keeps_the_quality_that_was_asked_for_where_one_does(
    true: np.ndarray[Any, np.dtype[np.float64]], keep: float
) -> None:
    prices = np.array([0.1, 0.2, 0.9])
    weight = calibrated_price_weight(true, true, prices, keep)  # predicted by an oracle
    picks = (true - weight * prices).argmax(axis=1)
    assert true[np.arange(30), picks].mean() >= keep * true.mean(axis=0).max() - 1e-9


def test_a_predictor_answers_the_same_from_its_file_s_arrays_and_for_one_text_as_for_many() -> None:
    again = Predictor.of(PREDICTOR.arrays())
    many = again.predict_features(raw_features(TEXTS[:5], VECTORS[:5])).worths
    one = [PREDICTOR.predict(text, vector).worths[0] for text, vector in zip(TEXTS[:5], VECTORS[:5], strict=True)]
    assert many == pytest.approx(np.stack(one), abs=1e-5)


def test_most_texts_that_it_was_trained_on_are_no_news_and_one_unlike_all_goes_to_the_best_on_average() -> None:
    novel = PREDICTOR.predict_features(raw_features(TEXTS, VECTORS)).novel
    assert novel.mean() <= 0.05
    assert picked(2.0, "Which bird sings, number 31?") == "default"
    assert picked(2.0, "SELECT * FROM birds;\n" * 20) == "strong"


@given(st.text(max_size=200))
def test_any_text_has_features(text: str) -> None:
    assert np.isfinite(raw_features([text], VECTORS[:1])).all()
