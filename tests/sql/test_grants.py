"""Who may do what in schema rowcall, read from the catalog and compared with this page: what is new is added here."""

import re
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.sql.session import Session
from worker.doctor.judging import OPEN_TO_CLIENTS

API_ROLES = ("anon", "authenticated", "service_role")
ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
READ = frozenset({"SELECT"})

# Grants on whole tables, beside service_role's, which has ALL on each.
TABLES: dict[str, dict[str, frozenset[str]]] = {
    "answer_cache": {},
    "attempts": {"authenticated": READ},
    "calls": {},
    "chunks": {"anon": READ, "authenticated": READ},
    "documents": {"anon": READ, "authenticated": READ | {"DELETE"}},
    "examples": {"anon": READ, "authenticated": READ},
    "feedback": {"authenticated": READ | {"DELETE"}},
    "generations": {"authenticated": READ},
    "kinds": {},
    "limits": {},
    "retention": {},
    "spend": {},
}

DOCUMENT_COLUMNS = frozenset({"title", "source", "media_type", "content", "metadata"})

# Grants on columns: (table, role, privilege) → columns.
COLUMNS: dict[tuple[str, str, str], frozenset[str]] = {
    ("generations", "authenticated", "INSERT"): frozenset({"kind", "input", "options", "lane", "idempotency_key"}),
    ("documents", "authenticated", "INSERT"): DOCUMENT_COLUMNS,
    ("documents", "authenticated", "UPDATE"): DOCUMENT_COLUMNS,
    ("feedback", "authenticated", "INSERT"): frozenset({"generation_id", "rating", "comment"}),
    ("feedback", "authenticated", "UPDATE"): frozenset({"generation_id", "rating", "comment"}),
}

# Policies: table → (name, command, roles).
POLICIES: dict[str, set[tuple[str, str, str]]] = {
    "attempts": {("own attempts: read", "SELECT", "authenticated")},
    "chunks": {("chunks of readable documents", "SELECT", "anon,authenticated")},
    "documents": {
        (f"own documents: {verb}", command, "authenticated")
        for verb, command in [("read", "SELECT"), ("insert", "INSERT"), ("update", "UPDATE"), ("delete", "DELETE")]
    },
    "examples": {
        ("own examples: read", "SELECT", "authenticated"),
        ("examples of readable documents", "SELECT", "anon,authenticated"),
    },
    "feedback": {
        (f"own feedback: {verb}", command, "authenticated")
        for verb, command in [("read", "SELECT"), ("insert", "INSERT"), ("update", "UPDATE"), ("delete", "DELETE")]
    },
    "generations": {
        ("own generations: read", "SELECT", "authenticated"),
        ("own generations: insert", "INSERT", "authenticated"),
    },
}

NOBODY: frozenset[str] = frozenset()
WORKER = frozenset({"service_role"})
OWNER = frozenset({"authenticated"})

# Functions: name → who may execute it. No two have the same name.
FUNCTIONS: dict[str, frozenset[str]] = {
    # what triggers call as whoever inserts
    "tenant_of": OWNER | WORKER,
    "claims_for": OWNER | WORKER,
    "runs_for_client": OWNER | WORKER,
    "heading_text": WORKER,
    "move_is_allowed": WORKER,
    # triggers, and what only definers call
    "set_owner": NOBODY,
    "check_generation": NOBODY,
    "input_problem": NOBODY,
    "options_problem": NOBODY,
    "check_limits": NOBODY,
    "guard_generation": NOBODY,
    "forget_tenant": NOBODY,
    "set_document_owner": NOBODY,
    "check_document": NOBODY,
    "ingest_inserted": NOBODY,
    "ingest_changed": NOBODY,
    "notify_inserted": NOBODY,
    "hmac_sha256": NOBODY,
    "render_template": NOBODY,
    "read_automation": NOBODY,
    "target_of": NOBODY,
    "automation_owner": NOBODY,
    "automation_limit_problem": NOBODY,
    "ask_for_row": NOBODY,
    "trigger_arguments": NOBODY,
    "automation_problem": NOBODY,
    "generate": NOBODY,
    "notify_automatic": NOBODY,
    "renew_rating": NOBODY,
    "forget_example_of_rating": NOBODY,
    "forget_examples_of_chunks": NOBODY,
    # the worker
    "budget_left": WORKER,
    "open_call": WORKER,
    "close_calls": WORKER,
    "open_calls_v3": WORKER,
    "close_calls_v1": WORKER,
    "claim_generations_v1": WORKER,
    "abandon_calls": WORKER,
    "broken_off": WORKER,
    "lose_attempts": WORKER,
    "renew_generations_v1": WORKER,
    "checkpoint_generations_v1": WORKER,
    "fill_target": WORKER,
    "send_done": WORKER,
    "finish_generations_v4": WORKER,
    "keep_answers": WORKER,
    "remember_answers": WORKER,
    "requeue": WORKER,
    "retry_generations_v1": WORKER,
    "release_generations_v1": WORKER,
    "due_generations_v1": WORKER,
    "cancel_generations_v1": WORKER,
    "keep_canceled_v1": WORKER,
    "prune_v1": WORKER,
    "dead_generations_v2": WORKER,
    "replay_generations_v2": WORKER,
    "replay_dead_generations_v2": WORKER,
    "replay_problem": WORKER,
    "fill_again": WORKER,
    "send_webhook": WORKER,
    "automations_v2": WORKER,
    "ask_for_row_v1": WORKER,
    "try_automation_v1": WORKER,
    "become": WORKER,
    "held_generation": WORKER,
    "begin_generation_v1": WORKER,
    "lexeme_shares": WORKER,
    "any_of": WORKER,
    "word_shares": WORKER,
    "cached_near": WORKER,
    "has_other_models": WORKER,
    "offered_answers": WORKER,
    "offered_examples": WORKER,
    "context_v4": WORKER,
    "read_document_v1": WORKER,
    "store_chunks_v1": WORKER,
    "ingest_anew": WORKER,
    "limit_problem": WORKER,
    "question_hash": WORKER,
    "is_well_rated": WORKER,
    "cited_chunks": WORKER,
    "example_problem": WORKER,
    "read_example_v1": WORKER,
    "store_example_v1": WORKER,
    # the operator
    "drill_cached_answer_v1": WORKER,
    "promote_examples_v1": WORKER,
    "learn_examples_v1": WORKER,
    "examples_v1": WORKER,
    "remove_examples_v1": WORKER,
    "embedding_models_v1": WORKER,
    "examine_v1": WORKER,
    "examine_tables_v1": WORKER,
    "visible_to_strangers_v1": WORKER,
    "probe_webhook_v1": WORKER,
    "webhook_response_v1": WORKER,
    "status_v1": WORKER,
    "usage_v3": WORKER,
    "reembed_documents_v2": WORKER,
    "documents_to_reembed_v2": WORKER,
    "rated_answers_v1": WORKER,
    "open_operator_call_v1": WORKER,
    # the owner of a row
    "cancel_generation": OWNER,
    "delete_generation": OWNER,
    # the owner of a document
    "known_documents": OWNER | WORKER,
    "ingest_again": OWNER,
    # policies on realtime.messages
    "topic_generation": frozenset(API_ROLES),
}

DEFINERS = {
    "check_generation", "check_limits", "check_document", "ingest_inserted", "ingest_changed", "fill_target",
    "ingest_anew", "ingest_again",
    "cancel_generation", "delete_generation", "send_webhook", "notify_inserted",
    "generate", "notify_automatic", "try_automation_v1", "ask_for_row_v1",
    "forget_example_of_rating", "forget_examples_of_chunks",
    "automations_v2", "examine_tables_v1", "examine_v1", "probe_webhook_v1", "webhook_response_v1",
}  # fmt: skip


def functions(sql: Session) -> list[dict[str, Any]]:
    return sql.all(
        """select p.proname as name, p.oid::regprocedure::text as signature, p.prosecdef as definer,
                  p.proconfig as config,
                  p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0) as public,
                  array(select r from unnest(%s::text[]) r where has_function_privilege(r, p.oid, 'execute')) as roles
             from pg_proc p where p.pronamespace = 'rowcall'::regnamespace order by 1""",
        list(API_ROLES),
    )


def test_every_table_has_row_level_security_and_exactly_these_grants(sql: Session) -> None:
    found = sql.all(
        """select c.relname as name, c.relrowsecurity as rls, a.grantee::regrole::text as role,
                  a.privilege_type as privilege
             from pg_class c left join lateral aclexplode(c.relacl) a on a.grantee <> c.relowner
            where c.relnamespace = 'rowcall'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')"""
    )
    assert {row["name"] for row in found} == TABLES.keys()
    assert all(row["rls"] for row in found)
    granted: dict[str, dict[str, set[str]]] = {name: {} for name in TABLES}
    for row in found:
        granted[row["name"]].setdefault(row["role"], set()).add(row["privilege"])
    assert granted == {name: {**roles, "service_role": ALL} for name, roles in TABLES.items()}


def test_exactly_these_columns_may_be_written_by_clients(sql: Session) -> None:
    found = sql.all(
        """select c.relname as name, t.attname as column, a.grantee::regrole::text as role,
                  a.privilege_type as privilege
             from pg_class c join pg_attribute t on t.attrelid = c.oid cross join lateral aclexplode(t.attacl) a
            where c.relnamespace = 'rowcall'::regnamespace"""
    )
    granted: dict[tuple[str, str, str], set[str]] = {}
    for row in found:
        granted.setdefault((row["name"], row["role"], row["privilege"]), set()).add(row["column"])
    assert granted == COLUMNS


def test_sequences_are_nobody_s(sql: Session) -> None:
    """Identity columns need no grant, and who may call nextval can make ids skip."""
    found = sql.column(
        """select c.relname from pg_class c, unnest(%s::text[]) r
            where c.relnamespace = 'rowcall'::regnamespace and c.relkind = 'S'
              and has_sequence_privilege(r, c.oid, 'usage, select, update')""",
        list(API_ROLES),
    )
    assert found == []


def test_every_version_of_a_function_has_a_caller(sql: Session) -> None:
    """In Python, or in another function: what was replaced is dropped."""
    found = sql.all("select proname as name, prosrc as body from pg_proc where pronamespace = 'rowcall'::regnamespace")
    python = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "worker").rglob("*.py"))
    for name in (row["name"] for row in found if re.search(r"_v\d+$", row["name"])):
        bodies = (row["body"] for row in found if row["name"] != name)
        assert any(re.search(rf"\b{name}\b", text) for text in (python, *bodies)), name


def test_the_api_roles_may_use_the_schema_and_create_nothing_in_it(sql: Session) -> None:
    found = sql.all(
        """select r, has_schema_privilege(r, 'rowcall', 'usage') as usage,
                  has_schema_privilege(r, 'rowcall', 'create') as make
             from unnest(%s::text[]) r""",
        [*API_ROLES, "authenticator"],
    )
    assert {row["r"] for row in found if row["usage"]} == set(API_ROLES)
    assert not any(row["make"] for row in found)


def test_exactly_these_policies_exist(sql: Session) -> None:
    found = sql.all("select *, roles::text[] as role_names from pg_policies where schemaname = 'rowcall'")
    policies: dict[str, set[tuple[str, str, str]]] = {}
    for row in found:
        roles = ",".join(sorted(row["role_names"]))
        policies.setdefault(row["tablename"], set()).add((row["policyname"], row["cmd"], roles))
        assert row["permissive"] == "PERMISSIVE"
    assert policies == POLICIES


def test_every_function_may_be_executed_by_exactly_these_roles_and_never_by_public(sql: Session) -> None:
    found = functions(sql)
    assert {row["name"]: frozenset(row["roles"]) for row in found} == FUNCTIONS
    assert len(found) == len(FUNCTIONS), "two functions have the same name"
    assert [row["signature"] for row in found if row["public"]] == []


def test_every_function_pins_its_search_path(sql: Session) -> None:
    pinned = {
        row["signature"]: [setting for setting in row["config"] or () if setting.startswith("search_path=")]
        for row in functions(sql)
    }
    assert [signature for signature, settings in pinned.items() if len(settings) != 1] == []


def test_exactly_these_functions_run_as_their_owner(sql: Session) -> None:
    assert {row["name"] for row in functions(sql) if row["definer"]} == DEFINERS


def test_nothing_in_the_schema_belongs_to_anybody_but_postgres(sql: Session) -> None:
    owners = sql.column(
        """select distinct relowner::regrole::text from pg_class where relnamespace = 'rowcall'::regnamespace
           union select distinct proowner::regrole::text from pg_proc where pronamespace = 'rowcall'::regnamespace"""
    )
    assert owners == ["postgres"]


def test_the_publication_holds_generations_only(sql: Session) -> None:
    published = sql.column(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'rowcall'"
    )
    assert published == ["generations"]


def test_topics_may_be_listened_to_and_not_spoken_on(sql: Session) -> None:
    policies = sql.all(
        """select cmd, roles::text[] as roles from pg_policies
            where schemaname = 'realtime' and tablename = 'messages' and policyname like 'rowcall:%'"""
    )
    assert policies == [{"cmd": "SELECT", "roles": ["authenticated"]}]


@pytest.mark.parametrize("role", API_ROLES)
def test_no_api_role_may_read_the_vault_s_webhook_secret_through_our_functions(sql: Session, role: str) -> None:
    """`send_webhook` signs with it; `hmac_sha256` would sign anything, so nobody may call it."""
    assert not sql.value("select has_function_privilege(%s, 'rowcall.hmac_sha256(text, text)', 'execute')", role)


def test_the_doctor_knows_which_functions_clients_may_execute() -> None:
    open_to_clients = {name for name, roles in FUNCTIONS.items() if roles - WORKER}
    assert open_to_clients == OPEN_TO_CLIENTS
