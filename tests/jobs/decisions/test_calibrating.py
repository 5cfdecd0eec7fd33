"""A router from answers: what holds of any table, and that it finds what a question shows and nothing where there is
nothing.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from jobs.decisions.calibrating import Answers, Table, calibrated, completed, cross_predicted, judged, relative
from jobs.decisions.predicting import Numbers, raw_features, train
from jobs.decisions.routing import calibrated_price_weight

SHARES = st.floats(0, 1)
TABLES = arrays(np.float64, (40, 3), elements=SHARES)
MASKS = arrays(np.bool_, (40, 3))
PRICES = np.array([0.0, 0.3, 1.0])


def features_of(count: int) -> Numbers:
    """Equations and birds in turn, with vectors that say nothing."""
    texts = [f"Solve {n} x + {n + 1} = {3 * n}." if n % 2 else f"Which bird sings, number {n}?" for n in range(count)]
    drawn = np.random.default_rng(0).standard_normal((count, 384))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return raw_features(texts, unit)


ALL = features_of(200)
FEATURES, LATER = ALL[:160], ALL[160:]


def answers(*, noise: bool = False) -> Answers:
    """A dear route that solves equations and a cheap one that does not. `noise`: which of them is right is chance."""
    rng, rows = np.random.default_rng(3), np.arange(160)
    qualities = np.column_stack([np.where(rows % 2, 0.1, 0.9), np.full(160, 0.9)])
    if noise:
        qualities = (rng.random((160, 2)) < (0.6, 0.8)).astype(np.float64)
    return Answers(FEATURES, qualities, np.tile([0.001, 0.01], (160, 1)) * rng.uniform(0.8, 1.2, (160, 1)))


def with_gaps(whole: Answers, known: NDArray[np.bool_]) -> Answers:
    return Answers(whole.features, np.where(known, whole.qualities, np.nan), np.where(known, whole.costs, np.nan))


# The price weight


@given(TABLES, st.lists(st.floats(0, 3), min_size=2, max_size=2))
@settings(deadline=None)
def test_the_dearer_a_unit_of_price_the_less_is_spent(predicted: Table, weights: list[float]) -> None:
    spent = [PRICES[(predicted - weight * PRICES).argmax(axis=1)].mean() for weight in sorted(weights)]
    assert spent[1] <= spent[0] + 1e-12


@given(TABLES, TABLES, st.lists(st.floats(0.5, 1.0), min_size=2, max_size=2))
@settings(deadline=None)
def test_who_wants_to_keep_more_never_gets_a_greater_weight(predicted: Table, true: Table, keeps: list[float]) -> None:
    less, more = (calibrated_price_weight(predicted, true, PRICES, keep) for keep in sorted(keeps))
    assert more <= less


@given(TABLES)
@settings(deadline=None)
def test_with_perfect_foresight_all_of_the_quality_is_kept(true: Table) -> None:
    weight = calibrated_price_weight(true, true, PRICES, 1.0)
    picks = (true - weight * PRICES).argmax(axis=1)
    assert true[np.arange(len(true)), picks].mean() >= true.mean(axis=0).max() - 1e-9


# Gaps


@given(TABLES, TABLES)
def test_a_table_without_a_gap_stays_as_it_is(qualities: Table, predicted: Table) -> None:
    assert completed(qualities, predicted, np.ones_like(qualities)) == pytest.approx(qualities)


@given(TABLES, TABLES, MASKS)
def test_no_gap_remains_and_a_right_prediction_fills_it(qualities: Table, predicted: Table, known: Table) -> None:
    gaps = np.where(known, qualities, np.nan)
    assert np.isfinite(completed(gaps, predicted, np.full_like(gaps, 0.5))).all()
    assert completed(gaps, qualities, np.full_like(gaps, 0.5)) == pytest.approx(qualities)


def test_over_rows_that_were_seen_by_chance_the_mean_is_right_however_wrong_the_prediction() -> None:
    rng = np.random.default_rng(5)
    qualities = rng.random((20_000, 2))
    seen = rng.random((20_000, 2)) < (0.3, 0.7)
    filled = completed(np.where(seen, qualities, np.nan), np.zeros_like(qualities), np.tile([0.3, 0.7], (20_000, 1)))
    assert filled.mean(axis=0) == pytest.approx(qualities.mean(axis=0), abs=0.02)


@given(MASKS, st.booleans())
@settings(max_examples=10, deadline=None)
def test_what_is_learned_of_a_route_does_not_depend_on_the_others(known: NDArray[np.bool_], whole: bool) -> None:  # noqa: FBT001 - drawn
    known[0] = True
    features, rng = FEATURES[:40], np.random.default_rng(1)
    table = np.where(known | whole, rng.random((40, 3)), np.nan)
    other = np.column_stack([table[:, 0], rng.random((40, 2))])
    one, two = (train(features, t, np.arange(40)).predict_features(features).qualities[:, 0] for t in (table, other))
    assert np.isfinite(one).all()
    assert one == pytest.approx(two, abs=1e-5)


def test_a_layout_that_all_questions_share_breaks_nothing() -> None:
    features = raw_features(["same"] * 30, FEATURES[:30, :384])
    predictor = train(features, np.random.default_rng(1).random((30, 2)), np.arange(30))
    prediction = predictor.predict("Another, with 12 digits\nand lines?", FEATURES[40, :384])
    assert np.isfinite(prediction.qualities).all()


# Cross-fitting


@given(st.integers(20, 40), st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_what_is_said_of_a_row_does_not_depend_on_its_own_answer(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    qualities, row = rng.random((count, 2)), int(rng.integers(count))
    other = qualities.copy()
    other[row] = 1 - other[row]
    before, after = (cross_predicted(FEATURES[:count], table).worths[row] for table in (qualities, other))
    assert (before == after).all()


@given(arrays(np.float64, 4, elements=st.floats(0, 1e3)))
def test_prices_are_from_0_to_1_in_the_same_order(costs: Table) -> None:
    prices = relative(costs)
    assert ((prices >= 0) & (prices <= 1)).all()
    assert all(prices[a] <= prices[b] for a in range(4) for b in range(4) if costs[a] <= costs[b])


# The whole


def test_a_router_that_sees_what_matters_pays_and_spends_less_for_the_same_quality() -> None:
    found = judged(answers(), 0.99)
    assert found.pays
    assert found.router.kept.estimate > 0.97
    assert 0.3 < found.router.saved.estimate < 0.6
    mix = found.policies[1]
    assert mix.usd == pytest.approx(found.router.usd)
    assert mix.quality < found.router.quality - 0.1


def test_where_the_question_shows_nothing_the_verdict_is_not_to_turn_it_on() -> None:
    assert not judged(answers(noise=True), 0.95).pays


def test_answers_of_one_route_each_teach_it_as_well_and_the_same_answers_make_the_same_router() -> None:
    known = np.eye(2, dtype=np.bool_)[np.random.default_rng(7).integers(0, 2, 160)]
    unpaired = with_gaps(answers(), known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judged(unpaired, 0.97)
        router, again = (calibrated(unpaired, 0.97) for _ in range(2))
    assert found.pays
    assert router.price_weight == again.price_weight
    assert (router.predictor.weights == again.predictor.weights).all()
    assert router.picks(LATER).tolist() == [0, 1] * 20
