"""What `generations.input` says for kind answer. SQL has checked its shape; this gives it types."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.decisions.prompting import Message, read_history
from jobs.ports import Json, Work


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    history: Sequence[Message] = ()
    max_output_tokens: int | None = None  # the asker's own limit

    @classmethod
    def of(cls, work: Work) -> "Question":
        return cls.read(work.input, work.options.get("max_output_tokens"))

    @classmethod
    def read(cls, input: Json, max_output_tokens: int | None = None) -> "Question":
        return cls(input["question"].strip(), read_history(input.get("history", ())), max_output_tokens)

    @property
    def searched(self) -> str:
        """What is searched for: a follow-up ("and on macOS?") rarely names its subject, the question before it does."""
        earlier = [turn.content for turn in self.history if turn.role == "user"]
        return "\n".join((*earlier[-1:], self.text))
