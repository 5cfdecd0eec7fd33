import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode

NOBODY = "00000000-0000-0000-0000-000000000000"
Failed = Callable[[str], str]


def said(text: str) -> str:
    return " ".join(text.split())


def test_the_status_shows_what_is_open_and_how_rows_ended(rowcall: Run, failed: Failed) -> None:
    code = f"test.{uuid4().hex[:8]}"
    failed(code)
    shown = rowcall("status")
    assert shown.exit_code == ExitCode.SUCCEEDED
    assert f"{code} 1" in shown.stdout
    status = json.loads(rowcall("status", "--json").stdout)
    assert {"code": code, "rows": 1} in status["codes"]
    assert {lane["lane"] for lane in status["queue"]["lanes"]} == {"interactive", "bulk"}


def test_the_status_is_shown_while_redis_is_away(rowcall: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    shown = rowcall("status")
    assert shown.exit_code == ExitCode.SUCCEEDED
    assert "redis     Redis: ConnectionError" in shown.stdout


def test_the_ledger_is_shown_by_what_was_asked_for(
    rowcall: Run, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # room for the tenants and sums of other tests
    tenant = uuid4().hex[:8]
    database.execute(
        """insert into rowcall.calls (tenant, kind, attempt, purpose, status, provider, model, tokens_in, cost_usd)
           values (%s, 'answer', 1, 'answer', 'succeeded', 'p', 'm', 1234, 0.5)""",
        (tenant,),
    )
    database.execute(  # a sum that no double holds
        """insert into rowcall.calls (kind, attempt, purpose, status, cost_usd)
           values ('answer', 1, 'answer', 'succeeded', 0.1234567890123456789)"""
    )
    shown = rowcall("usage", "--by", "tenant", "--days", "1").stdout
    [line] = [line for line in shown.splitlines() if tenant in line]
    assert line.split() == [tenant, "1", "0", "1,234", "0", "0", "0.5000"]
    usage = json.loads(rowcall("usage", "--by", "tenant", "--by", "model", "--json").stdout)["usage"]
    [mine] = [line for line in usage if line["tenant"] == tenant]
    assert (mine["model"], mine["calls"], "day" in mine) == ("p/m", 1, False)


def test_usage_goes_back_as_far_as_there_is_a_ledger(rowcall: Run) -> None:
    asked = rowcall("usage", "--days", "99999999", "--by", "kind", "--by", "kind", "--json")
    assert asked.exit_code == ExitCode.SUCCEEDED, asked.output
    assert json.loads(asked.stdout)["since"].startswith("1970-01-01")


def test_the_dead_are_listed_with_their_reasons_and_replayed_by_id_or_by_code(rowcall: Run, failed: Failed) -> None:
    code = f"test.{uuid4().hex[:8]}"
    first, second, third = (failed(code) for _ in range(3))
    shown = rowcall("dead", "--code", code).stdout
    assert all(id in shown for id in (first, second, third))
    assert f"{code} It took long." in shown
    replayed = json.loads(rowcall("replay", first, "--json").stdout)
    assert replayed == {"replayed": [first], "filled": [], "not_replayed": []}
    assert [row["id"] for row in json.loads(rowcall("dead", "--code", code, "--json").stdout)] == [third, second]
    assert "2 replayed" in rowcall("replay", "--code", code).stdout
    assert f"no row has failed or was refused with the code {code}" in said(rowcall("dead", "--code", code).stdout)


def test_a_row_that_cannot_be_replayed_is_named_and_the_exit_code_says_so(rowcall: Run, failed: Failed) -> None:
    id = failed("test.other")
    shown = rowcall("replay", id, NOBODY)
    assert shown.exit_code == ExitCode.FAILED
    assert f"not replayed {NOBODY}\n  it does not exist" in shown.stdout
    assert "1 replayed" in shown.stdout


def test_a_column_that_refused_an_answer_is_filled_from_it_once_the_cause_is_mended(
    rowcall: Run, database: psycopg.Connection[Any]
) -> None:
    database.execute("create table public.cli_posts (id bigint primary key, summary text check (summary <> 'no'))")
    try:
        database.execute("insert into public.cli_posts select n from generate_series(1, 3) n")
        ids = [
            str(id)
            for (id,) in database.execute(
                """insert into rowcall.generations (kind, input, target, status, answer, error, finished_at)
                   select 'complete', '{"prompt": "p"}', jsonb_build_object('schema', 'public', 'table', 'cli_posts',
                          'key', jsonb_build_object('id', n), 'column', 'summary', 'hops', 0), 'succeeded', a,
                          '{"code": "target.failed", "message": "refused"}', now() - interval '1 second'
                     from (values (1, 'yes'), (2, 'no'), (9, 'gone')) v (n, a)
                   returning id"""
            )
        ]
        assert "complete · answered, column not filled" in rowcall("dead", "--code", "target.failed").stdout
        shown = rowcall("replay", "--code", "target.failed")
        assert shown.exit_code == ExitCode.FAILED
        assert "1 filled" in shown.stdout
        assert f"not replayed {ids[1]}" in shown.stdout
        assert "violates check constraint" in shown.stdout
        assert "has no row with that key any more" in shown.stdout
        database.execute("alter table public.cli_posts drop constraint cli_posts_summary_check")
        again = json.loads(rowcall("replay", ids[1], ids[2], "--json").stdout)
        assert (again["filled"], [row["id"] for row in again["not_replayed"]]) == ([ids[1]], [ids[2]])
        filled = database.execute("select summary from public.cli_posts order by id").fetchall()
        assert filled == [("yes",), ("no",), (None,)]
        assert database.execute(
            "select count(*) from rowcall.calls where generation_id::text = any (%s)", (ids,)
        ).fetchone() == (0,)
    finally:
        database.execute("drop table public.cli_posts")


def test_rows_that_were_born_refused_are_listed_and_replayed_where_that_can_help(
    rowcall: Run, database: psycopg.Connection[Any]
) -> None:
    limited, cut = (
        str(id)
        for (id,) in database.execute(
            """insert into rowcall.generations (kind, input, origin, target, status, error, finished_at)
               select 'complete', '{"prompt": "p"}', 'automation', '{"schema": "public", "table": "t", "column": "c"}',
                      'refused', jsonb_build_object('code', code, 'message', 'no'), now()
                 from unnest(array['limits.test', 'input.too_large']) code
               returning id"""
        )
    )
    assert f"{limited} complete · refused" in (shown := rowcall("dead").stdout)
    assert "0 tries · public.t.c" in shown
    replayed = json.loads(rowcall("replay", limited, cut, "--json").stdout)
    assert replayed["replayed"] == [limited]
    assert [row["id"] for row in replayed["not_replayed"]] == [cut]
    assert "write the row again" in replayed["not_replayed"][0]["problem"]


@pytest.mark.parametrize("arguments", [(), (NOBODY, "--code", "test.code")])
def test_replay_wants_ids_or_a_code_and_not_both(rowcall: Run, arguments: tuple[str, ...]) -> None:
    refused = rowcall("replay", *arguments)
    assert refused.exit_code == ExitCode.USAGE
    assert "either ID…, or --code CODE" in refused.stderr


def test_rows_are_canceled(rowcall: Run, database: psycopg.Connection[Any]) -> None:
    [(id,)] = database.execute(
        """insert into rowcall.generations (input) values ('{"question": "q"}') returning id::text"""
    ).fetchall()
    assert json.loads(rowcall("cancel", id, "--json").stdout) == {"canceled": [id], "not_canceled": []}
    again = rowcall("cancel", id)
    assert (again.exit_code, f"not canceled {id}\n  it has ended" in again.stdout) == (ExitCode.FAILED, True)


def test_prune_goes_on_until_nothing_is_left(rowcall: Run, database: psycopg.Connection[Any]) -> None:
    database.execute(
        """insert into rowcall.calls (kind, attempt, purpose, created_at)
           select 'answer', 1, 'test', now() - interval '500 days' from generate_series(1, 1001)"""
    )
    assert json.loads(rowcall("prune", "--json").stdout)["calls"] >= 1001
    assert json.loads(rowcall("prune", "--json").stdout)["calls"] == 0


def test_a_wrong_key_leads_to_the_doctor(rowcall: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_wrong")
    refused = rowcall("status")
    assert refused.exit_code == ExitCode.UNAVAILABLE
    assert "rowcall doctor" in refused.stderr


def test_without_a_project_the_message_says_how_to_name_one(
    rowcall: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        monkeypatch.delenv(name)
    refused = rowcall("status")
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "`rowcall dev`" in refused.stderr
    assert "SUPABASE_URL, SUPABASE_SECRET_KEY" in refused.stderr


def test_a_project_that_is_half_named_is_told_what_is_missing(rowcall: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    refused = rowcall("status")
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert refused.stderr.startswith("SUPABASE_SECRET_KEY not set: the environment names a project")


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_key_that_is_still_a_placeholder_is_named(
    rowcall: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_…")
    refused = rowcall(command)
    assert refused.exit_code in {ExitCode.CONFIGURATION, ExitCode.FAILED}
    assert "SUPABASE_SECRET_KEY has characters" in " ".join((refused.stdout + refused.stderr).split())


def test_a_wrong_configuration_keeps_no_operator_from_the_rows(
    rowcall: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text("x = 1")
    monkeypatch.setenv("ROWCALL_CONFIG", str(tmp_path / "wrong.toml"))
    monkeypatch.delenv("ROWCALL_LOCAL_MODEL_URL")
    assert rowcall("dead").exit_code == ExitCode.SUCCEEDED
    refused = rowcall("status")
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "wrong.toml" in refused.stderr
