"""Addresses, keys and folders of one stack: everything that its parts and its users must agree on."""

from dataclasses import dataclass, field
from pathlib import Path

from worker.local.ports import free_port
from worker.local.postgres import PostgresMajor
from worker.local.state import Secrets

EXPOSED_SCHEMAS = ("public", "rowcall")
WEBHOOK_PATH = "/webhooks/supabase"


# Beside Postgres and the gateway, which are always there, and any number of workers.
ALL_PARTS = frozenset({"valkey", "pg_net", "realtime", "models", "intake"})
DEFAULT_PARTS = ALL_PARTS - {"intake"}


@dataclass(frozen=True, slots=True)
class StackConfig:
    state_dir: Path
    project_dir: Path  # holds supabase/migrations
    configuration: Path | None = None  # None: the project's rowcall.toml
    api_port: int | None = None  # None: a free one
    postgres_major: PostgresMajor = 18
    parts: frozenset[str] = DEFAULT_PARTS
    workers: int = 0
    live: bool = False  # answers by the routes of rowcall.toml, with the caller's OPENAI_API_KEY


@dataclass(frozen=True, slots=True)
class Ports:
    api: int
    postgres: int = field(default_factory=free_port)
    valkey: int = field(default_factory=free_port)
    realtime: int = field(default_factory=free_port)
    models: int = field(default_factory=free_port)
    intake: int = field(default_factory=free_port)


@dataclass(frozen=True, slots=True)
class Wiring:
    config: StackConfig
    ports: Ports
    secrets: Secrets

    @property
    def state_dir(self) -> Path:
        return self.config.state_dir

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def db_url(self) -> str:
        """As `postgres`, who runs migrations and is no superuser."""
        return self._dsn("postgres", self.secrets.postgres_password)

    @property
    def admin_db_url(self) -> str:
        return self._dsn("supabase_admin", self.secrets.admin_password)

    @property
    def gateway_db_url(self) -> str:
        return self._dsn("authenticator", self.secrets.gateway_password)

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.secrets.valkey_password}@127.0.0.1:{self.ports.valkey}/0"

    @property
    def model_url(self) -> str:
        """Base URL of the local model server, as OpenAI clients want it."""
        return f"http://127.0.0.1:{self.ports.models}/v1"

    @property
    def intake_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.intake}"

    @property
    def webhook_url(self) -> str:
        return self.intake_url + WEBHOOK_PATH

    @property
    def supabase_environment(self) -> dict[str, str]:
        """What a client of the project needs."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.secrets.publishable_key,
            "SUPABASE_SECRET_KEY": self.secrets.secret_key,
        }

    @property
    def environment(self) -> dict[str, str]:
        """What worker and intake read. Embeddings always come from the local model: stored vectors were made by it."""
        return self.supabase_environment | {
            "ROWCALL_CONFIG": str((self.config.configuration or self.config.project_dir / "rowcall.toml").absolute()),
            "REDIS_URL": self.redis_url,
            "ROWCALL_WEBHOOK_SECRET": self.secrets.webhook_secret,
            "ROWCALL_LOCAL_MODEL_URL": self.model_url,
            **({"ROWCALL_LIVE": "true"} if self.config.live else {}),  # with the OPENAI_API_KEY that children inherit
        }

    @property
    def operator_environment(self) -> dict[str, str]:
        """What the command line reads to speak to a stack that runs."""
        return self.environment | {"DATABASE_URL": self.db_url}

    def _dsn(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.ports.postgres}/postgres?sslmode=disable"
