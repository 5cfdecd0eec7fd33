"""What `rowcall doctor` asks inside the database. That it finds what is wrong: tests/worker/doctor."""

from typing import Any

from tests.sql.session import Session
from tests.sql.verbs import insert
from worker.doctor.judging import proof_of

SECRET = "the first"
WIDE = "create policy wide on rowcall.generations for select to authenticated using (true)"


def examined(sql: Session, challenge: str = "c") -> dict[str, Any]:
    sql.as_service()
    return dict(sql.value("select rowcall.examine_v1(%s)", challenge))


def keep(sql: Session, name: str, secret: str) -> None:
    """In the vault, in place of what it holds under that name."""
    sql.run("update vault.secrets set name = name || '_before' where name = %s", name)
    sql.run("select vault.create_secret(%s, %s)", secret, name)


def test_the_vault_s_first_secret_is_proved_and_never_shown(admin: Session) -> None:
    keep(admin, "rowcall_webhook_secret", f"{SECRET},the second")
    facts = examined(admin, "challenge")
    assert facts["has_webhook_secret"]
    assert facts["proof"] == proof_of("challenge", SECRET)
    assert SECRET not in str(facts)


def test_without_secrets_there_is_no_proof(admin: Session) -> None:
    for name in ("rowcall_webhook_secret", "rowcall_webhook_url"):
        admin.run("update vault.secrets set name = name || '_before' where name = %s", name)
    facts = examined(admin)
    assert (facts["webhook_url"], facts["has_webhook_secret"], facts["proof"]) == (None, False, None)
    assert admin.value("select rowcall.probe_webhook_v1()") is None


def test_a_proof_signs_no_webhook(admin: Session) -> None:
    """A webhook's signature is over a number, a dot and the body; a proof is over a word that is no number."""
    keep(admin, "rowcall_webhook_secret", SECRET)
    forged = examined(admin, '1700000000.{"type": "INSERT"}')["proof"]
    assert forged != admin_hmac(admin, '1700000000.{"type": "INSERT"}')


def admin_hmac(admin: Session, message: str) -> str:
    admin.run("set local role supabase_admin")
    return str(admin.value("select rowcall.hmac_sha256(%s, %s)", message, SECRET))


def test_a_stranger_sees_nothing_unless_a_policy_is_too_wide(sql: Session) -> None:
    insert(sql, sql.new_user())
    assert sql.value("select rowcall.visible_to_strangers_v1()") == 0
    sql.as_postgres()
    sql.run(WIDE)
    sql.as_service()
    assert sql.value("select rowcall.visible_to_strangers_v1()") == 1
    assert sql.value("select current_user") == "service_role"


def test_a_probe_is_queued_signed_and_without_rows(admin: Session) -> None:
    keep(admin, "rowcall_webhook_secret", SECRET)
    keep(admin, "rowcall_webhook_url", "http://127.0.0.1:9/webhooks/supabase")
    admin.as_service()
    id = admin.value("select rowcall.probe_webhook_v1()")
    assert admin.value("select rowcall.webhook_response_v1(%s)", id) is None
    admin.run("set local role supabase_admin")
    request = admin.one(
        "select url, headers, convert_from(body, 'UTF8')::jsonb as body from net.http_request_queue where id = %s", id
    )
    assert request["body"]["rows"] == []
    stamp, signature = request["headers"]["X-Rowcall-Signature"].removeprefix("t=").split(",v1=")
    assert len(signature) == 64
    assert stamp.isdecimal()


def test_only_the_secret_key_may_examine(sql: Session) -> None:
    sql.as_user(sql.new_user())
    for question in ("examine_v1('c')", "visible_to_strangers_v1()", "probe_webhook_v1()", "webhook_response_v1(1)"):
        with sql.refused("42501", "permission denied"):
            sql.run(f"select rowcall.{question}")
