import numpy as np

from tests.worker.test_settings import ENVIRONMENT
from worker.prior import LARGE, SMALL, WEIGHTS, read_predictor
from worker.settings import load


def test_the_shipped_prior_is_small_and_predicts_plausible_qualities() -> None:
    vector = np.zeros(384, np.float32)
    vector[0] = 1.0
    answers = np.stack([read_predictor().predict(text, vector) for text in ("", "Why?", "Solve $x^2 = 2$." * 50)])
    assert answers.shape == (3, 2)
    assert (answers > -0.5).all()
    assert (answers < 1.5).all()
    assert WEIGHTS.stat().st_size < 500_000


def test_on_average_the_large_model_is_the_better_one() -> None:
    means = read_predictor().means
    assert means[LARGE] > means[SMALL]


def test_the_shipped_configuration_routes_by_wish_and_budget_and_leaves_the_classifier_off() -> None:
    routing = load(ENVIRONMENT).routing(read_predictor())
    assert [(rule.name, rule.route) for rule in routing.rules] == [
        ("short_of_money", "default"),
        ("asked_for_best", "best"),
        ("asked_for_fast", "default"),
    ]
    assert routing.classifier is None
