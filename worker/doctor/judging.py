"""What the facts mean, and the cure. Pure: what was seen goes in, findings come out."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from worker.doctor.findings import Finding, good, note, problem
from worker.webhooks import TOLERANCE_S

Json = Mapping[str, Any]

# What clients call themselves, or triggers and policies in their name. Everything else in the schema is the worker's.
OPEN_TO_CLIENTS = frozenset(
    {
        "tenant_of",
        "claims_for",
        "runs_for_client",
        "topic_generation",
        "cancel_generation",
        "delete_generation",
        "known_documents",
        "ingest_again",
    }
)
CLOCK_NOTE_S = 2.0
OLDEST_VECTOR = (0, 8)  # iterative scans: without them a filtered search by index returns too few rows
PUSH = "apply them: `supabase db push`, or `rowcall migrate --db-url …`"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the project's API, or why there was none."""

    status: int = 0
    code: str = ""  # PostgREST's, or Postgres'
    message: str = ""
    body: Any = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def judge_api(answer: Answer) -> Finding:
    """Asked with the secret key for a row of rowcall.kinds."""
    said = f"{answer.message} ({answer.code or answer.status})"
    if answer.is_success:
        return good("schema", "rowcall is exposed, and the secret key may read it")
    if answer.status == 0:
        return problem(
            "project",
            f"SUPABASE_URL does not answer: {answer.message}",
            "check SUPABASE_URL (https://<project>.supabase.co), and whether the project is paused",
        )
    if answer.code == "42501":
        return problem(
            "secret key",
            "SUPABASE_SECRET_KEY may not read rowcall.kinds: it is the key of a client",
            "SUPABASE_SECRET_KEY wants a secret key (sb_secret_…), not a publishable one",
        )
    if answer.status in {401, 403}:
        return problem(
            "secret key",
            f"the project refuses SUPABASE_SECRET_KEY: {said}",
            "copy a secret key (sb_secret_…) from Settings → API Keys into SUPABASE_SECRET_KEY",
        )
    if answer.code == "PGRST106" or answer.status == 406:
        return problem(
            "schema",
            f"schema rowcall is not exposed: {said}",
            "add rowcall under Settings → API → Exposed schemas (supabase/config.toml does it for `supabase start`)",
        )
    if answer.status == 404:
        return problem("migrations", f"schema rowcall is not there: {said}", PUSH)
    return problem("schema", f"the API answers {answer.status}: {said}", "look at the project's API logs")


def judge_client(answer: Answer) -> Finding:
    """The worker's function status_v1, asked with the publishable key."""
    if answer.is_success:
        return problem(
            "worker functions",
            "anybody may call the worker's functions with the publishable key",
            "is SUPABASE_PUBLISHABLE_KEY a secret key? Else: revoke execute on function rowcall.… from anon",
        )
    return good("publishable key", "is refused where only the worker may ask")


def judge_migrations(applied: Sequence[str] | None, shipped: Sequence[str]) -> Finding:
    if not shipped:
        return note(
            "migrations", "their files are not here, to compare", "run this command in a clone of the repository"
        )
    if applied is None:
        return note("migrations", "the database keeps no history of them", "apply them by `supabase db push`")
    missing = sorted(set(shipped) - set(applied))
    if missing:
        return problem("migrations", f"{len(missing)} are not applied: {', '.join(missing)}", PUSH)
    return good("migrations", f"all {len(shipped)} are applied")


def judge_row_level_security(facts: Json, visible_to_strangers: int) -> Finding:
    if facts["without_rls"]:
        tables = ", ".join(facts["without_rls"])
        statements = " ".join(f"alter table rowcall.{t} enable row level security;" for t in facts["without_rls"])
        return problem("row level security", f"is off for {tables}: every signed-in user reads all rows", statements)
    if visible_to_strangers:
        return problem(
            "row level security",
            "a signed-in user sees generations of others",
            "look for a policy on rowcall.generations that is too wide: select * from pg_policies where "
            "tablename = 'generations'",
        )
    return good("row level security", "is on for every table; a stranger sees no generation")


def judge_grants(facts: Json) -> Finding:
    opened = sorted(set(facts["open_to_clients"]) - OPEN_TO_CLIENTS)
    if opened:
        return problem(
            "worker functions",
            f"clients may call {', '.join(opened)}",
            " ".join(f"revoke execute on function rowcall.{name} from public, anon, authenticated;" for name in opened),
        )
    if facts["may_update"]:
        return problem(
            "worker functions",
            f"{', '.join(facts['may_update'])} may update generations, and so forge answers",
            "revoke update on rowcall.generations from anon, authenticated;",
        )
    return good("worker functions", "are closed to clients")


def judge_publication(facts: Json) -> Finding:
    if facts["is_published"]:
        return good("publication", "supabase_realtime holds rowcall.generations")
    return problem(
        "publication",
        "clients get no changes of rows: supabase_realtime lacks rowcall.generations",
        "alter publication supabase_realtime add table rowcall.generations;",
    )


def judge_channel_policies(facts: Json) -> Finding:
    """What lets owners listen to their streams, and keeps everybody from forging one."""
    wide = [p["policy"] for p in facts["may_speak"] if not p["narrowed"]]
    if wide:
        return problem(
            "channel policies",
            f"clients may send on every private topic, and so forge an answer's text: {', '.join(wide)}",
            "narrow these policies on realtime.messages: … and realtime.topic() not like 'generation:%'",
        )
    if not facts["may_listen"]:
        return problem(
            "channel policies",
            "the policy on realtime.messages that lets owners listen is gone: streams do not arrive",
            "run the `create policy` of supabase/migrations/20261124000700_realtime.sql again",
        )
    if facts["may_speak"]:
        return note(
            "channel policies",
            f"clients may send on some private topics: {', '.join(p['policy'] for p in facts['may_speak'])}",
            "see that none of these policies on realtime.messages takes a topic that begins with generation:",
        )
    return good("channel policies", "owners may listen, nobody may speak")


def judge_extensions(facts: Json) -> Finding:
    version = facts["extensions"].get("vector", "0")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VECTOR:
        return problem("vector", f"pgvector {version} is too old for iterative scans", "alter extension vector update;")
    return good("vector", f"pgvector {version} on Postgres {facts['postgres']}")


def judge_vault(facts: Json, secrets: Sequence[str], challenge: str) -> Finding | None:
    """None: everything for a webhook is there, so it is worth sending one."""
    url = facts["webhook_url"]
    if facts["vault_problem"] is not None:
        return problem(
            "vault",
            f"cannot be read, so no webhook is sent: {facts['vault_problem']}",
            "create extension supabase_vault; (Integrations → Vault)",
        )
    if url is None:
        return note(
            "webhook",
            "the vault has no rowcall_webhook_url: rows wait for the sweeper, a second or two",
            "on a laptop that is fine; else: select vault.create_secret('https://<intake>/webhooks/supabase', "
            "'rowcall_webhook_url');",
        )
    if not facts["has_webhook_secret"]:
        return problem(
            "vault",
            "has rowcall_webhook_url and no rowcall_webhook_secret: no webhook is sent",
            "select vault.create_secret('<the value of ROWCALL_WEBHOOK_SECRET>', 'rowcall_webhook_secret');",
        )
    if not any(hmac.compare_digest(proof_of(challenge, secret), facts["proof"] or "") for secret in secrets):
        return problem(
            "vault",
            "rowcall_webhook_secret is none of ROWCALL_WEBHOOK_SECRET: intake refuses every webhook",
            "set both to the same value: select vault.update_secret((select id from vault.secrets where name = "
            "'rowcall_webhook_secret'), '<the value of ROWCALL_WEBHOOK_SECRET>');",
        )
    if "pg_net" not in facts["extensions"]:
        return problem("webhook", "extension pg_net is not there: none is sent", "create extension pg_net;")
    return None


def judge_webhook(response: Json | None, url: str) -> Finding:
    """`response`: what pg_net heard of a webhook that was sent; None: nothing yet."""
    host = urlsplit(url).hostname or ""
    where = f"{url} (rowcall_webhook_url in the vault)"
    if response is None:
        return problem(
            "webhook", "pg_net has sent nothing for 10 s", "select net.worker_restart(); or restart the database"
        )
    match response["status_code"]:
        case 202:
            return good("webhook", f"the database reaches intake at {host}")
        case None:
            local = " The database cannot reach a name that only your machine knows." if host in LOCAL_HOSTS else ""
            return problem(
                "webhook",
                f"the database does not reach intake: {response['error']}",
                f"does `rowcall intake` run, and is it reachable at {where}?{local}",
            )
        case 401:
            return problem(
                "webhook",
                "intake refuses the database's signature",
                "intake runs with another ROWCALL_WEBHOOK_SECRET than this one, or its clock is off",
            )
        case status:
            return problem("webhook", f"{host} answers {status} instead of 202", f"is intake what listens at {where}?")


def proof_of(challenge: str, secret: str) -> str:
    """What `examine_v1` answers where the vault holds this secret."""
    return hmac.new(secret.encode(), f"doctor.{challenge}".encode(), hashlib.sha256).hexdigest()


def judge_redis(info: Json) -> Sequence[Finding]:
    """`info`: Redis' own INFO."""
    policy = info.get("maxmemory_policy", "unknown")
    findings = []
    if policy not in {"noeviction", "unknown"}:
        findings.append(
            problem(
                "redis",
                f"maxmemory-policy is {policy}: hints are evicted when memory is full, and workers do not start",
                "set it to noeviction: CONFIG SET maxmemory-policy noeviction, or in the provider's settings",
            )
        )
    if not info.get("aof_enabled"):
        findings.append(
            note(
                "redis",
                "no append-only file: a restart forgets its hints, and the sweeper has to bring them back",
                "appendonly yes, or a durable plan of the provider",
            )
        )
    version = info.get("valkey_version") or info.get("redis_version", "")
    return findings or [good("redis", f"{version}, noeviction, append-only file")]


def judge_clock(skew_s: float) -> Finding:
    """The database's clock minus ours."""
    if abs(skew_s) > TOLERANCE_S:
        return problem(
            "clock",
            f"ours is {abs(skew_s):.0f} s off the database's: webhooks are refused as too old",
            "synchronise this machine's clock (chrony, systemd-timesyncd)",
        )
    if abs(skew_s) > CLOCK_NOTE_S:
        return note("clock", f"ours is {abs(skew_s):.1f} s off the database's", "synchronise this machine's clock")
    return good("clock", f"within {max(abs(skew_s), 0.1):.1f} s of the database's")


def judge_embedding(configured: str, stored: AbstractSet[str]) -> Finding:
    others = ", ".join(sorted(stored - {configured}))
    if others:
        return problem(
            "embedding model",
            f"rowcall.toml says {configured}, and chunks were embedded by {others}: no question finds those",
            f"`rowcall ingest --reembed` embeds them anew; or set [embedding] model to {others}",
        )
    return good("embedding model", f"{configured}, as stored" if stored else f"{configured}; nothing is stored yet")


def judge_provider(name: str, key: str, answer: Answer, models: Sequence[str]) -> Finding:
    """The provider's list of models, asked with its key. `models`: those that rowcall.toml wants from it."""
    check = f"provider {name}"
    if answer.status == 0:
        return problem(check, f"does not answer: {answer.message}", f"check base_url of [providers.{name}]")
    if answer.status in {401, 403}:
        return problem(check, f"refuses its key ({answer.status})", f"check {key}")
    if not answer.is_success:
        return note(check, f"answers {answer.status} to GET /models", "not every server has it; `rowcall ask` tells")
    listed = {m.get("id") for m in answer.body.get("data", ())} if isinstance(answer.body, Mapping) else set()
    unlisted = [model for model in models if model not in listed]
    if unlisted:
        return problem(check, f"has no {', '.join(unlisted)}", "check the models of [routes] and [embedding]")
    return good(check, f"knows {', '.join(models)}")
