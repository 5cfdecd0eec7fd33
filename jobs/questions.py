"""What `generations.input` says for kind answer. SQL has checked its shape; this gives it types."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.decisions.prompting import Message, read_history
from jobs.ports import Work


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    history: Sequence[Message] = ()
    max_output_tokens: int | None = None  # the asker's own limit

    @classmethod
    def of(cls, work: Work) -> "Question":
        history = read_history(work.input.get("history", ()))
        return cls(work.input["question"].strip(), history, work.options.get("max_output_tokens"))

    @property
    def searched(self) -> str:
        """What is searched for: a follow-up ("and on macOS?") rarely names its subject, the question before it does."""
        earlier = [turn.content for turn in self.history if turn.role == "user"]
        return "\n".join((*earlier[-1:], self.text))
