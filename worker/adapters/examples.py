"""Examples on Supabase, read and learned in the name of a generation's owner."""

from jobs.ports import Embedding, ModelName, Work
from worker.adapters import write_backs
from worker.adapters.database import Database


class SupabaseExamples:
    """`jobs.ports.Examples`. `embedding_model`: the model that made the vectors it is given."""

    def __init__(self, database: Database, *, embedding_model: ModelName) -> None:
        self._database = database
        self._embedding_model = embedding_model.model

    async def question(self, work: Work) -> str | None:
        read = await self._database.call("read_example_v1", {"generation_id": work.id, "attempt": work.attempt})
        return None if read is None else str(read["question"])

    async def learn(self, work: Work, embedding: Embedding) -> bool:
        arguments = {
            "generation_id": work.id,
            "attempt": work.attempt,
            "embedding": write_backs.literal(embedding),
            "embedding_model": self._embedding_model,
        }
        return bool(await self._database.call("store_example_v1", arguments))
