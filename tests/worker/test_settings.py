from pathlib import Path

import pytest

from jobs.decisions.checking import Cascade
from jobs.decisions.examples import FEW_SHOT
from jobs.decisions.falling_back import Failure, next_routes
from jobs.decisions.fusion import RETRIEVING, Retrieving
from jobs.decisions.routing import Traits, choose_route
from jobs.ports import ModelName
from worker.settings import ConfigurationError, load

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_x",
    "OPENAI_API_KEY": "sk-x",
    "ROWCALL_CONFIG": str(REPOSITORY / "rowcall.toml"),
}


def test_the_shipped_configuration_is_valid_and_prices_its_models() -> None:
    settings = load(ENVIRONMENT)
    assert settings.route("default").model in settings.prices
    assert ModelName(settings.embedding.provider, settings.embedding.model) in settings.prices
    assert settings.providers["openai"].base_url == "https://api.openai.com/v1"


def test_the_shipped_file_repeats_what_retrieval_and_examples_are_without_it() -> None:
    shipped = load(ENVIRONMENT)
    assert (shipped.retrieving, shipped.few_shot) == (RETRIEVING, FEW_SHOT)
    changed = load(ENVIRONMENT, {"retrieval": {"passages": 3, "words_weight": 0.2}, "few_shot": {"limit": 0}})
    assert (changed.retrieving, changed.few_shot.limit) == (Retrieving(passages=3, words_weight=0.2), 0)


def test_a_cascade_is_off_as_shipped_and_on_where_it_has_checks() -> None:
    assert load(ENVIRONMENT).route("default").cascade is None
    on = load(ENVIRONMENT, {"cascades": {"default": {"checks": ["arithmetic"]}}})
    assert on.route("default").cascade == Cascade("strong", ("arithmetic",))
    assert on.route("strong").cascade is None


def test_the_local_model_answers_and_embeds_unless_answers_are_live() -> None:
    local = ENVIRONMENT | {"ROWCALL_LOCAL_MODEL_URL": "http://127.0.0.1:9/v1"}
    offline = load({k: v for k, v in local.items() if k != "OPENAI_API_KEY"})
    live = load(local | {"ROWCALL_LIVE": "true"})
    assert offline.route("default").model == ModelName("local", "rowcall-local")
    assert offline.providers.keys() == {"local"}
    assert live.route("default").model.provider == "openai"
    assert offline.embedding == live.embedding
    assert live.embedding.model == "all-MiniLM-L6-v2"
    assert load(local, {"embedding": {"sentences": True}}).embedding.sentences


HOW_TO = {
    "cache": {"mode": "exact"},
    "routes": {
        "how_to": {"provider": "openai", "model": "m", "max_output_tokens": 9, "context_budget_tokens": 100},
    },
    "fallbacks": {"how_to": {"errors": ["cache", "strong"]}, "default": {"errors": ["strong", "cache"]}},
    "rules": {"how_to": {"route": "how_to", "tags": ["how-to"]}},
}


def test_each_type_of_question_has_its_own_order_of_cache_and_models() -> None:
    settings = load(ENVIRONMENT, HOW_TO)
    orders = {}
    for tag in ("how-to", "price"):
        traits = Traits("answer", "?", 1, tags=frozenset({tag}))
        route = settings.route(choose_route(traits, settings.read_routing()).route)
        orders[tag] = next_routes(route.name, route.chains, [Failure(route.name, "model.unavailable")])
    assert orders == {"how-to": ("cache", "strong"), "price": ("strong", "cache")}


def test_chains_that_name_a_cache_which_keeps_nothing_are_told() -> None:
    assert load(ENVIRONMENT, HOW_TO).routes_without_cache == ()
    off = load(ENVIRONMENT, HOW_TO | {"cache": {"mode": "off"}})
    assert sorted(off.routes_without_cache) == ["default", "how_to"]
    assert load(ENVIRONMENT).routes_without_cache == ()


def test_two_webhook_secrets_are_valid_while_they_are_rotated() -> None:
    assert load(ENVIRONMENT | {"ROWCALL_WEBHOOK_SECRET": "new,old"}).webhook_secrets == ("new", "old")
    assert load(ENVIRONMENT).webhook_secrets == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[worker]\nconcurrency = 0\n", "worker.concurrency"),
        ("[worker]\nconcurency = 5\n", "worker.concurency"),
        (
            "[routes.default]\nprovider = 'nobody'\nmodel = 'm'\nmax_output_tokens = 1\ncontext_budget_tokens = 100\n",
            "'nobody'",
        ),
        ("[worker\n", "line"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_what_is_wrong(change: str, says: str, tmp_path: Path) -> None:
    base = (
        "[providers.openai]\nbase_url = 'https://x'\napi_key_env = 'OPENAI_API_KEY'\n"
        "[embedding]\nprovider = 'openai'\nmodel = 'e'\n"
    )
    route = "[routes.default]\nprovider = 'openai'\nmodel = 'm'\nmax_output_tokens = 1\ncontext_budget_tokens = 100\n"
    path = tmp_path / "rowcall.toml"
    path.write_text(base + (change if "[routes" in change else route + change))
    with pytest.raises(ConfigurationError, match=r"rowcall\.toml") as refused:
        load(ENVIRONMENT | {"ROWCALL_CONFIG": str(path)})
    assert says in str(refused.value)


def test_a_wrong_secret_is_named_but_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_SECRET_KEY"):
        load({k: v for k, v in ENVIRONMENT.items() if k != "SUPABASE_SECRET_KEY"})
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        load(ENVIRONMENT | {"OPENAI_API_KEY": ""})
    with pytest.raises(ConfigurationError) as refused:
        load(ENVIRONMENT | {"REDIS_URL": "http://:password@host"})
    assert "REDIS_URL" in str(refused.value)


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    values = {"SUPABASE_SECRET_KEY": "sb_secret_file", "OPENAI_API_KEY": "sk-file", "ROWCALL_WEBHOOK_SECRET": "w"}
    environ = {name: value for name, value in ENVIRONMENT.items() if name not in values}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    settings = load(environ)
    assert settings.environment.SUPABASE_SECRET_KEY.get_secret_value() == "sb_secret_file"
    assert settings.providers["openai"].api_key.get_secret_value() == "sk-file"
    assert settings.webhook_secrets == ("w",)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY_FILE names /nowhere"):
        load(environ | {"OPENAI_API_KEY_FILE": "/nowhere"})


def test_a_reranker_may_be_another_provider_s_and_wants_its_key(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    path = tmp_path / "rowcall.toml"
    provider = '[providers.jina]\nbase_url = "https://api.jina.ai/v1"\napi_key_env = "JINA_API_KEY"\n'
    path.write_text(provider + shipped.replace("# provider = ", "provider = ").replace("# model = ", "model = "))
    environment = ENVIRONMENT | {"ROWCALL_CONFIG": str(path)}
    with pytest.raises(ConfigurationError, match="JINA_API_KEY is not set"):
        load(environment)
    settings = load(environment | {"JINA_API_KEY": "k"})
    assert (settings.reranker.provider, settings.reranker.model) == ("jina", "jina-reranker-v3")
    assert settings.providers["jina"].base_url == "https://api.jina.ai/v1"
    local = load(environment | {"ROWCALL_LOCAL_MODEL_URL": "http://127.0.0.1:1/v1"})
    assert local.reranker.provider is None, "the local model server has none"


def test_a_route_for_every_row_goes_before_rules_and_ends_where_it_begins() -> None:
    settings = load(ENVIRONMENT).always_by("strong")
    assert choose_route(Traits("answer", "?", 1, quality="best"), settings.read_routing()).route == "strong"
    assert settings.route("strong").cascade is None
    with pytest.raises(ConfigurationError, match="default, strong, best"):
        load(ENVIRONMENT).always_by("large")


@pytest.mark.parametrize("name", ["folder", "bytes.toml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=f"{name} cannot be read: "):
        load({"ROWCALL_CONFIG": str(tmp_path / name)})
