from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings
from openai import AsyncOpenAI

from tests.local.model_server.running import AT_ONCE, ModelServer, running_model_server
from worker.adapters.models import openai_client

# A loaded machine is slow, which is no defect of what is tested.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")


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
    async with openai_client(model_server.url, "local") as client:
        yield client
