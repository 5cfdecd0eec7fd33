from pathlib import Path

import pytest

from worker.environment import UnreadableSecret, current_environment, with_secrets_from_files


def test_the_process_s_variables_come_before_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWCALL_TEST_BOTH", "process")
    monkeypatch.setenv("ROWCALL_TEST_EMPTY", "")
    file = tmp_path / ".env"
    file.write_text(
        "ROWCALL_TEST_BOTH=file\nROWCALL_TEST_EMPTY=file\nROWCALL_TEST_FILE='with # and $HOME'\nROWCALL_NO=\n"
    )
    environ = current_environment(file)
    assert environ["ROWCALL_TEST_BOTH"] == "process"
    assert environ["ROWCALL_TEST_EMPTY"] == "file"
    assert environ["ROWCALL_TEST_FILE"] == "with # and $HOME"
    assert "ROWCALL_NO" not in environ
    assert "ROWCALL_TEST_FILE" not in current_environment(tmp_path / "missing")


def test_a_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    environ = {"A_KEY_FILE": str(tmp_path / "key"), "OTHER_FILE": "/nowhere"}
    assert with_secrets_from_files(environ, ("A_KEY", "B_KEY")) == {**environ, "A_KEY": "sk-1"}


def test_a_secret_that_is_given_twice_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = {"A_KEY_FILE": str(tmp_path / "missing")}
    with pytest.raises(UnreadableSecret, match=r"A_KEY_FILE names .*missing, which cannot be read: No such file"):
        with_secrets_from_files(missing, ("A_KEY",))
    with pytest.raises(UnreadableSecret, match="A_KEY and A_KEY_FILE are both set"):
        with_secrets_from_files(missing | {"A_KEY": "sk-2"}, ("A_KEY",))
