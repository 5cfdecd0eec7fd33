import pytest

from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode


@pytest.mark.parametrize("arguments", [(), (".", "--reembed")])
def test_an_ingest_wants_files_or_to_embed_anew_and_not_both(rowcall: Run, arguments: tuple[str, ...]) -> None:
    refused = rowcall("ingest", *arguments)
    assert refused.exit_code == ExitCode.USAGE
    assert "name files or folders, or give --reembed alone" in refused.stderr


def test_embedding_anew_wants_to_know_by_which_model(rowcall: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROWCALL_LOCAL_MODEL_URL")
    monkeypatch.setenv("ROWCALL_CONFIG", "gone.toml")
    refused = rowcall("ingest", "--reembed")
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "there is no rowcall.toml here" in refused.stderr
