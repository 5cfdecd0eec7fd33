import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.decisions.statistics import difference, paired, saving

VALUES = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 100))


@given(VALUES)
def test_a_measurement_is_no_better_than_itself(values: np.ndarray) -> None:
    found = paired(values, values, difference)
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert not found.is_clear


@given(VALUES)
def test_the_interval_lies_between_the_least_and_the_greatest_difference(values: np.ndarray) -> None:
    other = values[::-1].copy()
    found = paired(values, other, difference)
    least, greatest = (values - other).min(), (values - other).max()
    assert least - 1e-9 <= found.low <= found.high <= greatest + 1e-9


def test_a_gain_on_every_question_is_clear_and_one_by_chance_is_not() -> None:
    worse = np.zeros(50)
    assert paired(worse + 0.1, worse, difference).is_clear
    coin = np.random.default_rng(1).normal(size=50)
    assert not paired(coin, -coin, difference).is_clear


def test_a_saving_is_of_the_sum_not_of_each_question() -> None:
    found = paired(np.array([0.0, 50.0]), np.array([0.0, 100.0]), saving)
    assert found.estimate == pytest.approx(0.5)


def test_nothing_can_be_saved_of_nothing() -> None:
    assert np.isnan(paired(np.zeros(3), np.zeros(3), saving).estimate)


def test_values_of_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        paired(np.zeros(3), np.zeros(2), difference)
