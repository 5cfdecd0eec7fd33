"""The one reader of the environment and of rowcall.toml.

`load(environ)` gives a checked, frozen Settings, or raises ConfigurationError with a line for each thing that is wrong,
naming where it stands, its value and what is allowed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from jobs.decisions.caching import Caching
from jobs.decisions.checking import Cascade
from jobs.decisions.examples import FewShot
from jobs.decisions.falling_back import CACHE, NO_CHAINS, Chains
from jobs.decisions.fusion import Retrieving
from jobs.decisions.pricing import Price, most_usd
from jobs.decisions.prompting import HISTORY_TOKENS
from jobs.decisions.routing import Classifier, Routing, Rule
from jobs.ports import ModelName, Route
from worker.configuration import (
    Configuration,
    EmbeddingSection,
    Environment,
    FallbackSection,
    ProviderSection,
    RerankerSection,
    RouteSection,
    RuleSection,
    Section,
)
from worker.environment import UnreadableSecret, with_secrets_from_files
from worker.ports import PerMinute
from worker.prior import EMBEDDING_MODEL, prior_of
from worker.reference import explained
from worker.router_file import UnreadableRouter, read_router
from worker.webhooks import Watched

SECRETS = (
    "SUPABASE_SECRET_KEY",
    "REDIS_URL",
    "ROWCALL_WEBHOOK_SECRET",
)  # each may stand in the file that NAME_FILE names
FRAME_TOKENS = 2000  # of a prompt beside passages and history: system prompt, examples, question, about
LOCAL_PROVIDER = "local"
LOCAL_CHAT_MODEL = "rowcall-local"
LOCAL_EMBEDDING_MODEL = "all-MiniLM-L6-v2"

NO_OVERRIDES: Mapping[str, Any] = {}

Model = TypeVar("Model", bound=BaseModel)


class ConfigurationError(Exception):
    """What is wrong in the configuration, one thing a line."""


class Provider(Section):
    base_url: str
    api_key: SecretStr


class Settings(Section):
    """All that the composition root needs to know."""

    environment: Environment
    configuration: Configuration
    providers: Mapping[str, Provider]
    embedding: EmbeddingSection
    reranker: RerankerSection
    routes: Mapping[str, RouteSection]
    folder: Path  # of rowcall.toml

    @property
    def is_local(self) -> bool:
        """Whether the local model answers for every route, whose time is not billed."""
        return self.environment.ROWCALL_LOCAL_MODEL_URL is not None and not self.environment.ROWCALL_LIVE

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(s for s in self.environment.ROWCALL_WEBHOOK_SECRET.get_secret_value().split(",") if s)

    @property
    def watched_tables(self) -> dict[str, Watched]:
        """What intake has to know of the tables that `[tables]` names."""
        tables = self.configuration.tables
        return {name: Watched(table.column, table.lane, table.key) for name, table in tables.items()}

    @property
    def table_automations(self) -> dict[str, tuple[str, ...]]:
        """What rowcall.generate would be given for each of them."""
        return {
            name: (
                table.kind,
                table.template,
                table.column,
                f"lane={table.lane}",
                f"quality={table.quality}",
                *(() if table.owner is None else (f"owner={table.owner}",)),
            )
            for name, table in self.configuration.tables.items()
        }

    def listening(self, host: str | None, port: int | None) -> "Settings":
        """The same with health and metrics on that address; None leaves what rowcall.toml says."""
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        internal = self.configuration.internal.model_copy(update=given)
        return self.model_copy(update={"configuration": self.configuration.model_copy(update={"internal": internal})})

    def route(self, name: str) -> Route:
        section = self.routes[name]
        fallbacks, model = self.configuration.fallbacks.get(name), ModelName(section.provider, section.model)
        cascade, price = self.configuration.cascades.get(name), self.prices.get(model)
        return Route(
            name=name,
            model=model,
            max_output_tokens=section.max_output_tokens,
            context_budget_tokens=section.context_budget_tokens,
            first_token_timeout_s=section.first_token_timeout_s,
            total_timeout_s=section.total_timeout_s,
            price=price,
            reserved_usd=most_usd(
                price,
                tokens_in=section.context_budget_tokens + HISTORY_TOKENS + FRAME_TOKENS,
                tokens_out=section.max_output_tokens,
            ),
            chains=NO_CHAINS if fallbacks is None else _chains(fallbacks),
            cascade=Cascade(cascade.to, cascade.checks) if cascade is not None and cascade.checks else None,
        )

    def read_routing(self) -> Routing:
        """The rules, and the classifier's weights from their file. Raises ConfigurationError."""
        rules = tuple(_rule(name, rule) for name, rule in self.configuration.rules.items())
        return Routing(rules, _read_classifier(self) if self.configuration.classifier.routes else None)

    def always_by(self, route: str) -> "Settings":
        """The same with that route for every row, whatever rules, classifier and cascades say. Raises
        ConfigurationError.
        """
        if route not in self.routes:
            raise ConfigurationError(f"route must be a name of [routes]: {', '.join(self.routes)} (it is {route!r})")
        only = {"rules": {"always": RuleSection(route=route)}, "cascades": {}}
        return self.model_copy(update={"configuration": self.configuration.model_copy(update=only)})

    @property
    def weights_path(self) -> Path:
        return self.folder / self.configuration.classifier.weights

    @property
    def routes_without_cache(self) -> tuple[str, ...]:
        """Those that name `cache` in a chain although no answer is kept: it is passed over."""
        if self.caching.mode != "off":
            return ()
        fallbacks = self.configuration.fallbacks.items()
        return tuple(name for name, section in fallbacks if any(CACHE in chain for chain in section.chains.values()))

    @property
    def retrieving(self) -> Retrieving:
        return Retrieving(**self.configuration.retrieval.model_dump())

    @property
    def few_shot(self) -> FewShot:
        return FewShot(**self.configuration.few_shot.model_dump())

    @property
    def caching(self) -> Caching:
        return Caching(**self.configuration.cache.model_dump())

    def as_routes(self) -> dict[str, Route]:
        return {name: self.route(name) for name in self.routes}

    @property
    def prices(self) -> dict[ModelName, Price]:
        prices = {
            ModelName(*name.split("/", 1)): Price(p.usd_per_mtok_in, p.usd_per_mtok_cached, p.usd_per_mtok_out)
            for name, p in self.configuration.prices.items()
        }
        for model in (LOCAL_CHAT_MODEL, LOCAL_EMBEDDING_MODEL):  # the machine's own time is not billed
            prices[ModelName(LOCAL_PROVIDER, model)] = Price(0.0, 0.0, 0.0)
        return prices

    @property
    def embedding_name(self) -> ModelName:
        return ModelName(self.embedding.provider, self.embedding.model)

    @property
    def embedding_price(self) -> Price | None:
        return self.prices.get(self.embedding_name)

    @property
    def limits(self) -> dict[ModelName, PerMinute]:
        return {
            ModelName(*name.split("/", 1)): PerMinute(limit.requests_per_min, limit.tokens_per_min)
            for name, limit in self.configuration.limits.items()
        }


def embedding_model(environ: Mapping[str, str]) -> str:
    """The model that a question is embedded by. Raises ConfigurationError as `load`, and wants no secret."""
    if environ.get("ROWCALL_LOCAL_MODEL_URL"):
        return LOCAL_EMBEDDING_MODEL
    path = config_path(environ)
    return _checked(Configuration, _read(path), str(path)).embedding.model


def embeds_sentences(environ: Mapping[str, str]) -> bool:
    """Whether an ingest embeds them. Raises as `embedding_model`."""
    path = config_path(environ)
    return _checked(Configuration, _read(path), str(path)).embedding.sentences


def config_path(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("ROWCALL_CONFIG", "rowcall.toml"))


def load(environ: Mapping[str, str], overrides: Mapping[str, Any] = NO_OVERRIDES) -> Settings:
    """Settings from the environment and from the file that ROWCALL_CONFIG names (default: rowcall.toml here).

    `overrides` take the place of what the file says; of tables, key by key.
    """
    path = config_path(environ)
    configuration = _checked(Configuration, _overridden(_read(path), overrides), str(path))
    keys = (provider.api_key_env for provider in configuration.providers.values())
    try:
        environ = with_secrets_from_files(environ, (*SECRETS, *keys))
    except UnreadableSecret as error:
        raise ConfigurationError(str(error)) from error
    environment = _checked(Environment, {k: v for k, v in environ.items() if v != ""}, "environment")
    embedding, routes = configuration.embedding, dict(configuration.routes)
    reranker = configuration.reranker
    local = environment.ROWCALL_LOCAL_MODEL_URL
    providers: dict[str, Provider] = {}
    if local:
        providers[LOCAL_PROVIDER] = Provider(base_url=local, api_key=SecretStr("local"))
        own = {"provider": LOCAL_PROVIDER, "model": LOCAL_EMBEDDING_MODEL, "sends_dimensions": False}
        embedding = embedding.model_copy(update=own)
        if not environment.ROWCALL_LIVE:
            as_local = {"provider": LOCAL_PROVIDER, "model": LOCAL_CHAT_MODEL}
            routes = {name: route.model_copy(update=as_local) for name, route in routes.items()}
            reranker = RerankerSection()  # the local server has none
    named = (embedding.provider, reranker.provider, *(route.provider for route in routes.values()))
    for name in {name for name in named if name is not None} - {LOCAL_PROVIDER}:
        providers[name] = _provider(name, configuration.providers[name], environ, path)
    return Settings(
        environment=environment,
        configuration=configuration,
        providers=providers,
        embedding=embedding,
        reranker=reranker,
        routes=routes,
        folder=path.parent,
    )


def _read_classifier(settings: Settings) -> Classifier:
    section = settings.configuration.classifier
    classifier = _calibrated(settings) if section.weights else _shipped(settings)
    return classifier if section.price_weight is None else replace(classifier, price_weight=section.price_weight)


def _shipped(settings: Settings) -> Classifier:
    if settings.embedding.model != EMBEDDING_MODEL:
        raise ConfigurationError(
            f"classifier.weights: the shipped ones read vectors of {EMBEDDING_MODEL}, but [embedding] names "
            f"{settings.embedding.model}: `rowcall calibrate` makes weights for it"
        )
    return prior_of(settings.configuration.classifier.routes)


def _calibrated(settings: Settings) -> Classifier:
    section, path = settings.configuration.classifier, settings.weights_path
    try:
        stored = read_router(path)
    except UnreadableRouter as error:
        raise ConfigurationError(f"classifier.weights: {error}") from error
    of = stored.header
    if of.embedding_model != settings.embedding.model:
        raise ConfigurationError(
            f"classifier.weights: {path} is made with vectors of {of.embedding_model}, but [embedding] names "
            f"{settings.embedding.model}: `rowcall calibrate` makes other weights"
        )
    if set(of.routes) != set(section.routes):
        raise ConfigurationError(
            f"classifier.weights: {path} is of the routes {', '.join(of.routes)}, but classifier.routes are "
            f"{', '.join(section.routes)}"
        )
    return stored.classifier


def _overridden(file: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(file)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = _overridden(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _chains(section: FallbackSection) -> Chains:
    return Chains(**section.chains, deadline_s=inf if section.deadline_s is None else section.deadline_s)


def _rule(name: str, section: RuleSection) -> Rule:
    return Rule(
        name=name,
        route=section.route,
        kinds=frozenset(section.kinds),
        quality=frozenset(section.quality),
        tags=frozenset(section.tags),
        min_tokens=section.min_tokens,
        max_tokens=section.max_tokens,
        min_history_turns=section.min_history_turns,
        max_budget_left_share=section.max_budget_left_share,
    )


def _provider(name: str, section: ProviderSection, environ: Mapping[str, str], path: Path) -> Provider:
    key = environ.get(section.api_key_env, "")
    if not key:
        raise ConfigurationError(
            f"environment: {section.api_key_env} is not set; {path} names it as the key of provider {name!r}"
        )
    base_url = environ.get("OPENAI_BASE_URL", "") if name == "openai" else ""
    return Provider(base_url=base_url or section.base_url, api_key=SecretStr(key))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: there is no such file; `ROWCALL_CONFIG` can name another") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _checked(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ConfigurationError("\n".join(f"{where}: {explained(model, p)}" for p in problems)) from error
