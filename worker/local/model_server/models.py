from dataclasses import dataclass

from worker.local.model_server import protocol
from worker.local.model_server.exchanges import Exchange
from worker.local.model_server.faults import Faults

CHAT_MODEL = "rowcall-local"
EMBEDDING_MODEL = "all-MiniLM-L6-v2"


@dataclass(frozen=True, slots=True)
class Models:
    """The models that the server offers. Without `accepted` any name chats: tests use the names of their routes."""

    accepted: tuple[str, ...]

    @property
    def listed(self) -> tuple[str, ...]:
        return (*(self.accepted or (CHAT_MODEL,)), EMBEDDING_MODEL)

    def check_chat(self, name: str) -> None:
        """Raises `ApiError` for a name that is not offered."""
        if name == EMBEDDING_MODEL or (self.accepted and name not in self.accepted):
            raise protocol.model_not_found(name)

    def check_embedding(self, name: str) -> None:
        """As `check_chat`, but always: vectors of different models must never mix."""
        if name != EMBEDDING_MODEL:
            raise protocol.model_not_found(name)


@dataclass(frozen=True, slots=True)
class ModelList:
    """`GET /v1/models`."""

    models: Models
    faults: Faults

    async def answer(self, exchange: Exchange) -> None:
        fault = self.faults.take("models", "", "")
        await exchange.suffer(fault)
        await exchange.answer(200, protocol.model_list(self.models.listed), fault=fault)
