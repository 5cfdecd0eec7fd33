from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from worker.local import node, parts
from worker.local.errors import StackError
from worker.local.processes import Command
from worker.local.stack import Stack
from worker.local.wiring import StackConfig, Wiring


def test_a_gateway_that_serves_requests_as_its_login_role_does_not_start(
    tmp_path: Path, config: StackConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What @supabase/lite does when its first request finds no table with RLS, on the login that its manual suggests.
    careful = (node.FOLDER / "lite.mjs").read_text()
    careless = careful.replace("'rlsState', 'active'", "'rlsState', 'inactive'")
    assert careless != careful
    (tmp_path / "lite.mjs").write_text(careless)
    (tmp_path / "gateway.mjs").write_text((node.FOLDER / "gateway.mjs").read_text())
    (tmp_path / "node_modules").symlink_to(node.FOLDER / "node_modules")
    command = parts.node_command

    def careless_command(script: str, environment: dict[str, str]) -> Command:
        return replace(command(script, environment), folder=tmp_path if script == "gateway.mjs" else node.FOLDER)

    monkeypatch.setattr(parts, "node_command", careless_command)
    monkeypatch.setattr(Wiring, "gateway_db_url", Wiring.admin_db_url)
    with (
        pytest.raises(StackError, match=r"an anonymous request runs as .*supabase_admin"),
        Stack(config),
    ):
        pass


def test_a_database_whose_anon_role_skips_row_level_security_does_not_start(config: StackConfig) -> None:
    with Stack(config) as stack, psycopg.connect(stack.admin_db_url) as connection:
        connection.execute("alter role anon bypassrls")
    with pytest.raises(StackError, match="'bypassrls': True"), Stack(config):
        pass


def test_the_self_test_leaves_nothing_behind(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        left = connection.execute(
            "select relname::text from pg_class where relname like 'rowcall_probe%' "
            "union all select proname::text from pg_proc where proname like 'rowcall_probe%'"
        ).fetchall()
    assert left == []
