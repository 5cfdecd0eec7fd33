import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.local.model_server.running import AT_ONCE, ModelServer, running_model_server
from worker.adapters.models import openai_client
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import StackConfig

REPOSITORY = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell ignores it for what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # and what we start would inherit that
    # supabase-py 2.34 passes its PostgREST client options that this client calls deprecated.
    for option in ("timeout", "verify", "proxy"):
        ignored = f"ignore:The '{option}' parameter is deprecated:DeprecationWarning:supabase"
        config.addinivalue_line("filterwarnings", ignored)
    # realtime-py reads them when a connection is cut.
    for name in ("code", "reason"):
        ignored = f"ignore:ConnectionClosed.{name} is deprecated:DeprecationWarning:websockets.exceptions"
        config.addinivalue_line("filterwarnings", ignored)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded Supabase with this repository's migrations, one for the whole run. Tests use rows of their own."""
    config = StackConfig(state_dir=tmp_path_factory.mktemp("rowcall"), project_dir=REPOSITORY)
    with Stack(config) as running:
        yield running
    reset_state(config.state_dir)


@pytest.fixture(scope="session")
def running_models() -> Iterator[ModelServer]:
    with running_model_server(*AT_ONCE) as server:
        yield server


@pytest.fixture
def model_server(running_models: ModelServer) -> ModelServer:
    """With no faults and an empty log."""
    running_models.forget()
    return running_models


@pytest.fixture
async def model_client(model_server: ModelServer) -> AsyncIterator[AsyncOpenAI]:
    async with openai_client(model_server.url, "sk-a-key-of-ours") as client:
        yield client
