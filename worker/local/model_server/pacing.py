import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    first_token_s: float
    between_tokens_s: float

    def total_s(self, tokens: int) -> float:
        return self.first_token_s + max(0, tokens - 1) * self.between_tokens_s


async def paced(tokens: Sequence[str], between_tokens_s: float) -> AsyncIterator[str]:
    """The tokens, the first at once. One that is late does not delay the next, so the rate holds under load."""
    clock = asyncio.get_running_loop().time
    start = clock()
    for index, token in enumerate(tokens):
        await asyncio.sleep(max(0.0, start + index * between_tokens_s - clock()))
        yield token
