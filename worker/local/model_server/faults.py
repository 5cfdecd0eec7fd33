"""What tests can make the server do wrong: rules that match requests, and the faults that they bring."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

Endpoint = Literal["models", "embeddings", "chat"]

Seconds = Annotated[float, Field(ge=0)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(_Value):
    """An error instead of an answer. `code` is OpenAI's, e.g. `insufficient_quota`."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after_s: Seconds | None = None
    code: str | None = None


class Hang(_Value):
    """Silence, until the client goes away: before any byte, or after some chunks of a stream."""

    kind: Literal["hang"]
    after_chunks: NonNegativeInt = 0


class CutStream(_Value):
    """The connection ends in the middle: of a stream after some chunks, of any other answer in its JSON."""

    kind: Literal["cut_stream"]
    after_chunks: NonNegativeInt = 0


class Slow(_Value):
    kind: Literal["slow"]
    first_token_s: Seconds = 0.0
    between_tokens_s: Seconds = 0.0


class Malformed(_Value):
    """JSON that ends too early, in an answer that is otherwise whole."""

    kind: Literal["malformed"]


class Empty(_Value):
    """No text, and nothing wrong otherwise."""

    kind: Literal["empty"]


class Length(_Value):
    """The answer stops at so many tokens, with finish_reason `length`."""

    kind: Literal["length"]
    after_tokens: NonNegativeInt


class ContentFilter(_Value):
    """The provider's filter stops the answer, with finish_reason `content_filter`."""

    kind: Literal["content_filter"]
    after_tokens: NonNegativeInt = 0


class Refusal(_Value):
    """The model declines: a `refusal` in place of content."""

    kind: Literal["refusal"]
    text: str = "I'm sorry, I can't help with that."


class Says(_Value):
    """A text of the test's in place of an answer."""

    kind: Literal["says"]
    text: str


Fault = Annotated[
    Status | Hang | CutStream | Slow | Malformed | Empty | Length | ContentFilter | Refusal | Says,
    Field(discriminator="kind"),
]


class Match(_Value):
    """Which requests a rule is for: all that is given must fit. `contains` is searched in the prompt or the inputs."""

    endpoint: Endpoint | None = None
    model: str | None = None
    contains: str | None = None

    def fits(self, endpoint: Endpoint, model: str, text: str) -> bool:
        return (
            self.endpoint in {None, endpoint}
            and self.model in {None, model}
            and (self.contains is None or self.contains in text)
        )


class Rule(_Value):
    match: Match = Match()
    times: PositiveInt | Literal["always"] = 1
    fault: Fault


class Faults:
    """The rules in force. The first that fits a request is used up by one."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is left of them."""
        return tuple(self._rules)

    def add(self, rules: Sequence[Rule]) -> None:
        self._rules += rules

    def clear(self) -> None:
        self._rules.clear()

    def take(self, endpoint: Endpoint, model: str, text: str) -> Fault | None:
        for index, rule in enumerate(self._rules):
            if rule.match.fits(endpoint, model, text):
                self._use(index, rule)
                return rule.fault
        return None

    def _use(self, index: int, rule: Rule) -> None:
        if rule.times == 1:
            del self._rules[index]
        elif rule.times != "always":
            self._rules[index] = rule.model_copy(update={"times": rule.times - 1})
