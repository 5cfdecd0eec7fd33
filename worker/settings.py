"""The one reader of the environment and of rowcall.toml.

`load(environ)` gives a checked, frozen Settings, or raises ConfigurationError with a line for each thing that is wrong,
naming where it stands, its value and what is allowed.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from jobs.decisions.pricing import Price
from jobs.ports import ModelName, Route
from worker.environment import UnreadableSecret, with_secrets_from_files

SECRETS = (
    "SUPABASE_SECRET_KEY",
    "REDIS_URL",
    "ROWCALL_WEBHOOK_SECRET",
)  # each may stand in the file that NAME_FILE names
LOCAL_PROVIDER = "local"
LOCAL_CHAT_MODEL = "rowcall-local"
LOCAL_EMBEDDING_MODEL = "all-MiniLM-L6-v2"

Positive = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


Model = TypeVar("Model", bound=BaseModel)


class ConfigurationError(Exception):
    """What is wrong in the configuration, one thing a line."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkerSection(_Section):
    concurrency: int = Field(default=50, ge=1, le=1000)
    lease_s: Positive = 15.0
    grace_s: Positive = 30.0
    checkpoint_every_s: Positive = 2.0
    attempt_timeout_s: Positive = 600.0
    tenant_concurrency: int | None = Field(default=None, ge=1)


class LanesSection(_Section):
    interactive: int = Field(default=4, ge=1, le=1000)
    bulk: int = Field(default=1, ge=1, le=1000)


class SweeperSection(_Section):
    interval_s: Positive = 1.0
    grace_s: float = Field(default=1.0, ge=0)
    page: int = Field(default=500, ge=1, le=10_000)


class RetriesSection(_Section):
    max_tries: int = Field(default=5, ge=1)
    max_tries_of_bugs: int = Field(default=2, ge=1)
    max_losses: int = Field(default=3, ge=1)
    backoff_base_s: Positive = 1.0
    backoff_cap_s: Positive = 60.0


class IntakeSection(_Section):
    host: str = "0.0.0.0"
    port: Port = 8080
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    max_backlog: int = Field(default=100_000, ge=1)


class InternalSection(_Section):
    host: str = "127.0.0.1"
    port: Port = 0


class BroadcastSection(_Section):
    interval_s: Positive = 0.04
    messages_per_s: int = Field(default=400, ge=1)


class ProviderSection(_Section):
    base_url: str = Field(pattern=r"^https?://")
    api_key_env: str


class EmbeddingSection(_Section):
    provider: str
    model: str
    sends_dimensions: bool = False


class RouteSection(_Section):
    provider: str
    model: str
    max_output_tokens: int = Field(ge=1)
    context_budget_tokens: int = Field(ge=100)
    first_token_timeout_s: Positive = 20.0
    total_timeout_s: Positive = 120.0


class PriceSection(_Section):
    usd_per_mtok_in: float = Field(ge=0)
    usd_per_mtok_cached: float = Field(ge=0)
    usd_per_mtok_out: float = Field(ge=0)


class Configuration(_Section):
    """rowcall.toml."""

    worker: WorkerSection = WorkerSection()
    lanes: LanesSection = LanesSection()
    sweeper: SweeperSection = SweeperSection()
    retries: RetriesSection = RetriesSection()
    intake: IntakeSection = IntakeSection()
    internal: InternalSection = InternalSection()
    broadcast: BroadcastSection = BroadcastSection()
    providers: Mapping[str, ProviderSection]
    embedding: EmbeddingSection
    routes: Mapping[str, RouteSection]
    prices: Mapping[str, PriceSection] = {}

    @model_validator(mode="after")
    def _names_exist(self) -> "Configuration":
        if "default" not in self.routes:
            raise ValueError("routes: there must be a route named 'default'")
        named = {"embedding": self.embedding.provider, **{f"routes.{n}": r.provider for n, r in self.routes.items()}}
        for place, provider in named.items():
            if provider not in self.providers:
                raise ValueError(f"{place}.provider: {provider!r} is not one of {sorted(self.providers)}")
        return self


class Provider(_Section):
    base_url: str
    api_key: SecretStr


class Environment(_Section):
    """What comes from the environment: addresses and secrets."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    SUPABASE_URL: str = Field(pattern=r"^https?://")
    SUPABASE_SECRET_KEY: SecretStr = Field(min_length=1)
    REDIS_URL: str = Field(default="redis://127.0.0.1:6379/0", pattern=r"^rediss?://")
    ROWCALL_WEBHOOK_SECRET: SecretStr = SecretStr("")  # two, separated by a comma, while they are rotated
    ROWCALL_LOG: Literal["json", "console", "auto"] = "auto"
    # Development: the local model server. It embeds and answers; with ROWCALL_LIVE the configured routes answer.
    ROWCALL_LOCAL_MODEL_URL: str | None = Field(default=None, pattern=r"^http://")
    ROWCALL_LIVE: bool = False


class Settings(_Section):
    """All that the composition root needs to know."""

    environment: Environment
    configuration: Configuration
    providers: Mapping[str, Provider]
    embedding: EmbeddingSection
    routes: Mapping[str, RouteSection]

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(s for s in self.environment.ROWCALL_WEBHOOK_SECRET.get_secret_value().split(",") if s)

    def route(self, name: str) -> Route:
        section = self.routes[name]
        return Route(
            name=name,
            model=ModelName(section.provider, section.model),
            max_output_tokens=section.max_output_tokens,
            context_budget_tokens=section.context_budget_tokens,
            first_token_timeout_s=section.first_token_timeout_s,
            total_timeout_s=section.total_timeout_s,
        )

    @property
    def prices(self) -> dict[ModelName, Price]:
        prices = {
            ModelName(*name.split("/", 1)): Price(p.usd_per_mtok_in, p.usd_per_mtok_cached, p.usd_per_mtok_out)
            for name, p in self.configuration.prices.items()
        }
        for model in (LOCAL_CHAT_MODEL, LOCAL_EMBEDDING_MODEL):  # the machine's own time is not billed
            prices[ModelName(LOCAL_PROVIDER, model)] = Price(0.0, 0.0, 0.0)
        return prices


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment and from the file that ROWCALL_CONFIG names (default: rowcall.toml here)."""
    path = Path(environ.get("ROWCALL_CONFIG", "rowcall.toml"))
    configuration = _checked(Configuration, _read(path), str(path))
    keys = (provider.api_key_env for provider in configuration.providers.values())
    try:
        environ = with_secrets_from_files(environ, (*SECRETS, *keys))
    except UnreadableSecret as error:
        raise ConfigurationError(str(error)) from error
    environment = _checked(Environment, {k: v for k, v in environ.items() if v != ""}, "environment")
    embedding, routes = configuration.embedding, dict(configuration.routes)
    local = environment.ROWCALL_LOCAL_MODEL_URL
    providers: dict[str, Provider] = {}
    if local:
        providers[LOCAL_PROVIDER] = Provider(base_url=local, api_key=SecretStr("local"))
        embedding = EmbeddingSection(provider=LOCAL_PROVIDER, model=LOCAL_EMBEDDING_MODEL)
        if not environment.ROWCALL_LIVE:
            as_local = {"provider": LOCAL_PROVIDER, "model": LOCAL_CHAT_MODEL}
            routes = {name: route.model_copy(update=as_local) for name, route in routes.items()}
    for name in {embedding.provider, *(r.provider for r in routes.values())} - {LOCAL_PROVIDER}:
        providers[name] = _provider(name, configuration.providers[name], environ, path)
    return Settings(
        environment=environment, configuration=configuration, providers=providers, embedding=embedding, routes=routes
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
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _checked(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False):
            place = ".".join(str(part) for part in problem["loc"])
            given = problem["input"]
            secret = any(word in place for word in ("KEY", "SECRET", "REDIS_URL"))
            shown = "" if secret or isinstance(given, Mapping) else f" (it is {given!r})"
            lines.append(f"{where}: {place + ': ' if place else ''}{problem['msg']}{shown}")
        raise ConfigurationError("\n".join(lines)) from error
