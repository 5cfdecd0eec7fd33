"""What the columns that fill themselves depend on, in the project's own tables. Pure, like `judging`."""

import hmac
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import urlsplit

from worker.configuration import TableSection
from worker.doctor.findings import Finding, good, note, problem
from worker.doctor.judging import Json, proof_of

PATH = "/webhooks/supabase"
WEBHOOK = (
    f"Database → Webhooks: on insert and update of this table, POST to https://<intake>{PATH} with the header "
    "x-rowcall-secret, whose value is ROWCALL_WEBHOOK_SECRET"
)


def judge_automations(automations: Sequence[Json], jobs: AbstractSet[str]) -> Sequence[Finding]:
    """`automations`: of `automations_v2`; `jobs`: the kinds that workers of this checkout can run."""
    findings = []
    for one in automations:
        place = f"{one['schema_name']}.{one['table_name']}"
        wrong = one["problem"] or _without_job(one["kind"], jobs)
        if wrong:
            says = f"trigger {one['trigger_name']} on {place}: {wrong}"
            drop = f"drop trigger {one['trigger_name']} on {place}; and make it anew, or bring back what it names"
            findings.append(problem("automations", says, f"{drop} (docs/automations.md)"))
        elif not one["is_enabled"]:
            says = f"trigger {one['trigger_name']} on {place} is disabled: it fills nothing"
            enable = f"alter table {place} enable trigger {one['trigger_name']};"
            findings.append(note("automations", says, enable))
    if automations and not findings:
        says = f"{_counted(len(automations), 'trigger')} of rowcall.generate: columns, kind and job are there"
        return [good("automations", says)]
    return findings


def judge_tables(
    tables: Sequence[Json],
    sections: Mapping[str, TableSection],
    secrets: Sequence[str],
    challenge: str,
    jobs: AbstractSet[str],
) -> Sequence[Finding]:
    """`tables`: of `examine_tables_v1`, in the order of `sections`, those of `[tables]`."""
    findings = []
    for table, (name, section) in zip(tables, sections.items(), strict=True):
        wrong = table["problem"] or _without_job(section.kind, jobs) or _other_key(section.key, table["primary_key"])
        if wrong:
            correct = "correct it in rowcall.toml, or the table (docs/automations.md#by-a-database-webhook)"
            findings.append(problem("tables", f'[tables."{name}"]: {wrong}', correct))
        elif unstarted := _unstarted(table["webhooks"], secrets, challenge):
            findings.append(problem("tables", f'[tables."{name}"]: {unstarted}', WEBHOOK))
    if tables and not findings:
        says = f"{_counted(len(tables), 'table')} of rowcall.toml: columns, key and Database Webhook are there"
        return [good("tables", says)]
    return findings


def _other_key(key: Sequence[str], primary_key: Sequence[str]) -> str | None:
    if sorted(key) == sorted(primary_key):
        return None
    return f"key is {', '.join(key)}, and the table's primary key is {', '.join(primary_key)}"


def _unstarted(webhooks: Sequence[Json], secrets: Sequence[str], challenge: str) -> str | None:
    """Why no webhook of the dashboard starts it; None: one does."""
    ours = [w for w in webhooks if w["is_enabled"] and urlsplit(w["url"]).path.rstrip("/") == PATH]
    if not ours:
        return "no Database Webhook tells intake when a row appears"
    proofs = {proof_of(challenge, secret) for secret in secrets}
    if not any(hmac.compare_digest(w["proof"] or "", proof) for w in ours for proof in proofs):
        return f"intake refuses webhook {', '.join(w['name'] for w in ours)}: it sends none of ROWCALL_WEBHOOK_SECRET"
    return None


def _without_job(kind: str, jobs: AbstractSet[str]) -> str | None:
    return None if kind in jobs else f"no worker of this checkout runs kind {kind}: jobs/ has no {kind}.py"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def asked_about(tables: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """What `examine_tables_v1` is asked about the tables of `Settings.table_automations`."""
    places = [(name.partition("."), arguments) for name, arguments in tables.items()]
    return [{"schema": schema, "table": table, "arguments": arguments} for (schema, _, table), arguments in places]
