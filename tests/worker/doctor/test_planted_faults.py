"""A fault that goes wrong in practice is planted on a whole embedded stack; the doctor finds it, and names its cure."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from worker.adapters import tokens
from worker.cli import app
from worker.doctor import looking
from worker.local import parts
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import ALL_PARTS, StackConfig

Findings = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Patient:
    """A healthy stack, and the ways to make it ill."""

    stack: Stack
    monkeypatch: pytest.MonkeyPatch
    folder: Path

    def env(self, **variables: str) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    @contextmanager
    def sql(self, ill: str, healthy: str) -> Iterator[None]:
        """As the superuser: some of it belongs to the platform."""
        with psycopg.connect(self.stack.admin_db_url, autocommit=True) as connection:
            connection.execute(ill)
            try:
                yield
            finally:
                connection.execute(healthy)

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        self.stack.stop(part)
        try:
            yield
        finally:
            self.stack.start(part)

    @contextmanager
    def redis(self, setting: str, ill: str, healthy: str) -> Iterator[None]:
        with redis.Redis.from_url(self.stack.redis_url) as connection:
            connection.config_set(setting, ill)
            try:
                yield
            finally:
                connection.config_set(setting, healthy)

    @contextmanager
    def exposing(self, *schemas: str) -> Iterator[None]:
        """The gateway, started anew with those schemas."""
        self.stack.stop("gateway")
        healthy = self.stack._parts["gateway"]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(parts, "EXPOSED_SCHEMAS", schemas)
            self.stack._parts["gateway"] = replace(parts.gateway(self.stack.wiring), begins=healthy.begins)
        self.stack.start("gateway")
        try:
            yield
        finally:
            self.stack.stop("gateway")
            self.stack._parts["gateway"] = healthy
            self.stack.start("gateway")


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = StackConfig(tmp_path_factory.mktemp("doctor"), REPOSITORY, parts=ALL_PARTS)
    with Stack(config) as running:
        yield running
    reset_state(config.state_dir)


@pytest.fixture
def patient(whole_stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Patient:
    for name, value in whole_stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(looking, "WEBHOOK_PATIENCE_S", 6.0)
    monkeypatch.setattr(looking, "REALTIME_PATIENCE_S", 3.0)
    return Patient(whole_stack, monkeypatch, tmp_path)


def examined() -> tuple[int, Findings]:
    """The exit code, and what is not good, by what was looked at."""
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {f["check"]: f for f in json.loads(result.stdout) if f["level"] != "good"}


@pytest.mark.usefixtures("patient")
def test_a_healthy_stack_has_nothing_to_mend() -> None:
    assert examined() == (0, {})


def a_damaged_vocabulary(patient: Patient) -> None:
    patient.monkeypatch.setattr(tokens, "VOCABULARY", patient.folder / "o200k_base.tiktoken.gz")
    patient.monkeypatch.setattr(tokens, "_encoding", tokens._encoding.__wrapped__)


def a_wrong_configuration(patient: Patient) -> None:
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    (patient.folder / "rowcall.toml").write_text(shipped.replace("concurrency = 50 ", "concurrency = 0 "))
    patient.env(ROWCALL_CONFIG=str(patient.folder / "rowcall.toml"))


def a_slow_clock(patient: Patient) -> None:
    patient.monkeypatch.setattr("worker.doctor.examination.time.time", lambda: 1_000_000_000.0)


OTHER_MODEL = """
insert into rowcall.documents (source, content) values ('of-another-model', 'text');
insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens, content_hash,
                            embedding, embedding_model)
select id, 1, 0, 'text', 0, 4, 1, 'h', array_fill(1::real, array[384])::extensions.vector, 'text-embedding-old'
  from rowcall.documents where source = 'of-another-model';
"""
ROW = """insert into rowcall.generations (input, status) values ('{"question": "q"}', 'succeeded'); """
FORGERS = """create policy "everybody speaks" on realtime.messages for insert to authenticated with check (true)"""
HISTORY = "update supabase_migrations.schema_migrations"
CLAIM = "function rowcall.claim_generations_v1(uuid[], text, double precision, jsonb[], integer)"
ADDRESS = "update vault.secrets set name = '{}' where name = '{}'"

POSTS = """create table public.ill_posts (id bigint primary key, body text, summary text, user_id uuid);
create trigger fill after insert on public.ill_posts for each row
  execute function rowcall.generate('{kind}', '{{{{body}}}}', 'summary');"""
NO_POSTS = "drop table public.ill_posts"


@contextmanager
def a_table_of_the_configuration(
    patient: Patient, *, secret: str | None, ill: str = "", owner: str = "user_id"
) -> Iterator[None]:
    """[tables."public.ill_posts"] with a Database Webhook that sends that secret; None: without one."""
    values = {"column": "summary", "template": "{{body}}", "owner": owner}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path = patient.folder / "rowcall.toml"
    path.write_text((REPOSITORY / "rowcall.toml").read_text() + '\n[tables."public.ill_posts"]\n' + "\n".join(lines))
    patient.env(ROWCALL_CONFIG=str(path))
    headers = json.dumps({"X-Rowcall-Secret": secret})
    webhook = f"""create trigger told after insert or update on public.ill_posts for each row execute function
      supabase_functions.http_request('http://127.0.0.1:9/webhooks/supabase', 'POST', '{headers}', '{{}}', '1000');"""
    made = "create table public.ill_posts (id bigint primary key, body text, summary text, user_id uuid);"
    with patient.sql(made + (webhook if secret is not None else "") + ill, NO_POSTS):
        yield


def secret_of(patient: Patient) -> str:
    return patient.stack.environment()["ROWCALL_WEBHOOK_SECRET"]


# Fault → what was looked at, how bad it is, what the message says, what the cure says.
Fault = Callable[[Patient], AbstractContextManager[None] | None]
FAULTS: dict[str, tuple[Fault, str, str, str, str]] = {
    "the configuration has a wrong value": (
        a_wrong_configuration, "configuration", "problem", "worker.concurrency", "docs/configuration.md"),
    "the project does not answer": (
        lambda p: p.env(SUPABASE_URL="http://127.0.0.1:9"), "project", "problem", "does not answer", "paused"),
    "the secret key is wrong": (
        lambda p: p.env(SUPABASE_SECRET_KEY="sb_secret_wrong"), "secret key", "problem", "refuses", "API Keys"),
    "the secret key is the publishable one": (
        lambda p: p.env(SUPABASE_SECRET_KEY=p.stack.publishable_key), "secret key", "problem", "of a client",
        "not a publishable one"),
    "the publishable key is the secret one": (
        lambda p: p.env(SUPABASE_PUBLISHABLE_KEY=p.stack.secret_key), "worker functions", "problem", "anybody may call",
        "a secret key?"),
    "the schema is not exposed": (
        lambda p: p.exposing("public"), "schema", "problem", "not exposed", "Exposed schemas"),
    "a migration is missing": (
        lambda p: p.sql(f"{HISTORY} set version = '1' where version = '20261124000900'",
                        f"{HISTORY} set version = '20261124000900' where version = '1'"),
        "migrations", "problem", "20261124000900", "supabase db push"),
    "row level security is off": (
        lambda p: p.sql("alter table rowcall.generations disable row level security",
                        "alter table rowcall.generations enable row level security"),
        "row level security", "problem", "is off for generations", "enable row level security"),
    "a policy shows rows of others": (
        lambda p: p.sql(ROW + "create policy wide on rowcall.generations for select to authenticated using (true)",
                        "drop policy wide on rowcall.generations"),
        "row level security", "problem", "generations of others", "pg_policies"),
    "clients may claim": (
        lambda p: p.sql(f"grant execute on {CLAIM} to authenticated", f"revoke execute on {CLAIM} from authenticated"),
        "worker functions", "problem", "claim_generations_v1", "revoke execute"),
    "clients may write answers": (
        lambda p: p.sql("grant update (answer) on rowcall.generations to authenticated",
                        "revoke update (answer) on rowcall.generations from authenticated"),
        "worker functions", "problem", "forge answers", "revoke update"),
    "the table is not published": (
        lambda p: p.sql("alter publication supabase_realtime drop table rowcall.generations",
                        "alter publication supabase_realtime add table rowcall.generations"),
        "publication", "problem", "supabase_realtime lacks", "add table rowcall.generations"),
    "clients may forge deltas": (
        lambda p: p.sql(FORGERS, """drop policy "everybody speaks" on realtime.messages"""),
        "channel policies", "problem", "everybody speaks", "not like 'generation:%'"),
    "clients may speak on topics of the project's own": (
        lambda p: p.sql(FORGERS.replace("true", "realtime.topic() like 'chat:%'"),
                        """drop policy "everybody speaks" on realtime.messages"""),
        "channel policies", "note", "some private topics", "begins with generation:"),
    "realtime is down": (lambda p: p.without("realtime"), "realtime", "problem", "do not hear", "Realtime enabled"),
    "intake is down": (
        lambda p: p.without("intake"), "webhook", "problem", "does not reach intake", "rowcall intake"),
    "intake has another secret": (
        lambda p: p.env(ROWCALL_WEBHOOK_SECRET="another"), "vault", "problem", "ROWCALL_WEBHOOK_SECRET",
        "vault.update_secret"),
    "there is no vault": (
        lambda p: p.sql("alter view vault.decrypted_secrets rename to missing",
                        "alter view vault.missing rename to decrypted_secrets"),
        "vault", "problem", "cannot be read", "supabase_vault"),
    "the vault has no secret": (
        lambda p: p.sql(ADDRESS.format("x", "rowcall_webhook_secret"), ADDRESS.format("rowcall_webhook_secret", "x")),
        "vault", "problem", "no rowcall_webhook_secret", "vault.create_secret"),
    "the vault has no address": (
        lambda p: p.sql(ADDRESS.format("x", "rowcall_webhook_url"), ADDRESS.format("rowcall_webhook_url", "x")),
        "webhook", "note", "wait for the sweeper", "vault.create_secret"),
    "the clock is off": (a_slow_clock, "clock", "problem", "off the database's", "synchronise"),
    "redis is away": (
        lambda p: p.env(REDIS_URL="redis://127.0.0.1:9/0"), "redis", "problem", "cannot be used", "REDIS_URL"),
    "redis evicts": (
        lambda p: p.redis("maxmemory-policy", "allkeys-lru", "noeviction"), "redis", "problem", "allkeys-lru",
        "noeviction"),
    "redis forgets": (
        lambda p: p.redis("appendonly", "no", "yes"), "redis", "note", "append-only", "appendonly yes"),
    "chunks were embedded by another model": (
        lambda p: p.sql(OTHER_MODEL, "delete from rowcall.documents where source = 'of-another-model'"),
        "embedding model", "problem", "text-embedding-old", "rowcall ingest --reembed"),
    "the column of an automation was renamed": (
        lambda p: p.sql(POSTS.format(kind="complete") + "alter table public.ill_posts rename summary to abstract",
                        NO_POSTS),
        "automations", "problem", "no column summary to be filled", "drop trigger fill on public.ill_posts"),
    "an automation wants a kind that is gone": (
        lambda p: p.sql(POSTS.format(kind="translate"), NO_POSTS), "automations", "problem", "no kind translate",
        "drop trigger fill"),
    "no worker can run what an automation wants": (
        lambda p: p.sql("insert into rowcall.kinds values ('translate', false, '{text}', 'bulk');"
                        + POSTS.format(kind="translate"),
                        NO_POSTS + "; delete from rowcall.kinds where kind = 'translate'"),
        "automations", "problem", "jobs/ has no translate.py", "drop trigger fill"),
    "an automation is disabled": (
        lambda p: p.sql(POSTS.format(kind="complete") + "alter table public.ill_posts disable trigger fill", NO_POSTS),
        "automations", "note", "is disabled", "enable trigger fill"),
    "a table of rowcall.toml is gone": (
        lambda p: a_table_of_the_configuration(p, secret=secret_of(p), ill="alter table public.ill_posts rename to x;"
                                               "create table public.ill_posts (id bigint primary key); drop table x"),
        "tables", "problem", "no column summary", "rowcall.toml"),
    "the owner's column of a table is gone": (
        lambda p: a_table_of_the_configuration(p, secret=secret_of(p), owner="writer"),
        "tables", "problem", "no column writer to name the owner", "rowcall.toml"),
    "a table has no webhook": (
        lambda p: a_table_of_the_configuration(p, secret=None), "tables", "problem", "no Database Webhook",
        "x-rowcall-secret"),
    "a table's webhook sends another secret": (
        lambda p: a_table_of_the_configuration(p, secret="another"), "tables", "problem", "intake refuses webhook told",
        "ROWCALL_WEBHOOK_SECRET"),
    "the model server is down": (
        lambda p: p.without("models"), "provider local", "problem", "does not answer", "base_url"),
    "the vocabulary is missing": (a_damaged_vocabulary, "vocabulary", "problem", "No such file", "worker/weights/"),
}  # fmt: skip


def test_automations_and_tables_that_are_well_have_nothing_to_mend(patient: Patient) -> None:
    with patient.sql(POSTS.format(kind="complete"), NO_POSTS):
        assert examined() == (0, {})
    with a_table_of_the_configuration(patient, secret=secret_of(patient)):
        assert examined() == (0, {})
        found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
        assert "1 table of rowcall.toml" in next(f["says"] for f in found if f["check"] == "tables")


@pytest.mark.parametrize("name", FAULTS)
def test_the_doctor_finds(patient: Patient, name: str) -> None:
    plant, check, level, says, cure = FAULTS[name]
    with ExitStack() as ill:
        planted = plant(patient)
        if planted is not None:
            ill.enter_context(planted)
        exit_code, findings = examined()
    assert check in findings, findings
    found = findings[check]
    assert found["level"] == level
    assert says in found["says"]
    assert cure in found["cure"]
    assert exit_code == (1 if level == "problem" else 0)


def test_the_findings_fit_a_terminal_of_80_columns(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    patient.env(ROWCALL_WEBHOOK_SECRET="another")
    shown = CliRunner().invoke(app, ["doctor"]).stdout
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "1 to mend" in shown


def test_no_finding_shows_a_secret(patient: Patient) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    environment: dict[str, Any] = patient.stack.environment()
    for name in ("SUPABASE_SECRET_KEY", "REDIS_URL", "ROWCALL_WEBHOOK_SECRET"):
        assert environment[name] not in result.stdout
