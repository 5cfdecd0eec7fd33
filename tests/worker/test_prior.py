from pathlib import Path

import numpy as np
import pytest

from jobs.decisions.routing import Traits, choose_route
from tests.worker.test_settings import ENVIRONMENT
from worker.prior import LARGE, SMALL, WEIGHTS, read_predictor
from worker.settings import ConfigurationError, load

REPOSITORY = Path(__file__).parents[2]
LOCAL = {"ROWCALL_LOCAL_MODEL_URL": "http://127.0.0.1:9/v1"}  # which embeds by the model that it was trained on


def test_the_shipped_prior_is_small_and_predicts_plausible_qualities() -> None:
    vector = np.zeros(384, np.float32)
    vector[0] = 1.0
    predictor, texts = read_predictor(), ("", "Why?", "Solve $x^2 = 2$." * 50)
    answers = np.concatenate([predictor.predict(text, vector).qualities for text in texts])
    assert answers.shape == (3, 2)
    assert (answers > -0.5).all()
    assert (answers < 1.5).all()
    assert WEIGHTS.stat().st_size < 500_000


def test_on_average_the_large_model_is_the_better_one() -> None:
    means = read_predictor().means
    assert means[LARGE] > means[SMALL]


def test_the_shipped_configuration_routes_by_wish_and_budget_and_leaves_the_classifier_off() -> None:
    routing = load(ENVIRONMENT).read_routing()
    assert [(rule.name, rule.route) for rule in routing.rules] == [
        ("short_of_money", "default"),
        ("asked_for_best", "best"),
        ("asked_for_fast", "default"),
    ]
    assert routing.classifier is None


def test_two_routes_in_the_configuration_turn_it_on_and_its_price_weight_decides(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    vector = np.zeros(384, np.float32)
    vector[0] = 1.0
    for price_weight, route in ((0.0, "strong"), (2.0, "default")):
        path = tmp_path / f"{route}.toml"
        turned_on = shipped.replace("routes = []", 'routes = ["default", "strong"]')
        path.write_text(turned_on.replace("# price_weight = 0.1 ", f"price_weight = {price_weight} "))
        routing = load(ENVIRONMENT | LOCAL | {"ROWCALL_CONFIG": str(path)}).read_routing()
        chosen = choose_route(Traits("answer", "What is the integral of x?", 9), routing, vector)
        assert (chosen.route, chosen.reason) == (route, "classifier")


def test_with_the_vectors_of_another_model_the_prior_is_refused_with_both_names(tmp_path: Path) -> None:
    path = tmp_path / "rowcall.toml"
    path.write_text((REPOSITORY / "rowcall.toml").read_text().replace("routes = []", 'routes = ["default", "strong"]'))
    with pytest.raises(ConfigurationError, match=r"vectors of all-MiniLM-L6-v2, but .* text-embedding-3-small"):
        load(ENVIRONMENT | {"ROWCALL_CONFIG": str(path)}).read_routing()
