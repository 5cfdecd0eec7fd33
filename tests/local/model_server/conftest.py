from collections.abc import Iterator

import pytest

from tests.local.model_server.running import AT_ONCE, ModelServer, running_model_server


@pytest.fixture(scope="session")
def running_server() -> Iterator[ModelServer]:
    with running_model_server(*AT_ONCE) as server:
        yield server


@pytest.fixture
def model_server(running_server: ModelServer) -> ModelServer:
    """The model server, unpaced, with no faults and an empty log."""
    running_server.forget()
    return running_server
