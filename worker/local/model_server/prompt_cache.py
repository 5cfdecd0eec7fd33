"""A provider's prefix cache, as far as it shows in the usage: which part of a prompt was seen before.

OpenAI caches prefixes of at least 1,024 tokens and counts them in steps of 128. Here a prefix ends where a message
ends.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from worker.local.model_server import tokens
from worker.local.model_server.passages import Message

SHORTEST_PREFIX = 1024
STEP = 128
MESSAGE_OVERHEAD = 4  # tokens that frame a message
MOST_PREFIXES = 4096


class PromptCache:
    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def measure(self, model: str, messages: Sequence[Message]) -> tuple[int, int]:
        """(tokens of the prompt, those of them that were cached); the prompt is cached from now on."""
        total = cached = 0
        for size, digest in _prefixes(messages):
            total = size
            if size < SHORTEST_PREFIX:
                continue
            key = (model, digest)
            if key in self._seen:
                cached = size - size % STEP
            self._remember(key)
        return total, cached

    def _remember(self, key: tuple[str, bytes]) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > MOST_PREFIXES:
            self._seen.popitem(last=False)


def _prefixes(messages: Sequence[Message]) -> Iterator[tuple[int, bytes]]:
    """The size in tokens and a digest of the prompt up to the end of each message."""
    size = 0
    running = hashlib.sha256()
    for message in messages:
        size += tokens.count(message.text) + MESSAGE_OVERHEAD
        running.update(f"{message.role}\0{message.text}\0".encode())
        yield size, running.digest()
