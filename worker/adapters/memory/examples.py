from jobs.errors import AttemptLost
from jobs.ports import Embedding, Work
from worker.adapters.memory.database import MemoryDatabase


class MemoryExamples:
    """`jobs.ports.Examples` on a `MemoryDatabase`. An example is read by who owns it, and nobody else."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self.questions: dict[str, tuple[str, str]] = {}  # by the example's id, whose it is and what is asked
        self.vectors: dict[str, Embedding] = {}

    async def question(self, work: Work) -> str | None:
        owner, question = self.questions.get(self._id(work), (None, None))
        return question if owner is not None and owner == work.user_id else None

    async def learn(self, work: Work, embedding: Embedding) -> bool:
        id = self._id(work)
        if id not in self.questions:
            return False
        self.vectors[id] = embedding
        return True

    def _id(self, work: Work) -> str:
        generation = self.database.held(work.id, work.attempt)
        if generation is None:
            raise AttemptLost("it is not running")
        id: str = generation.input["example_id"]
        return id
