"""Threads that embed: what waits is embedded together, small requests first.

Importing this imports numpy and the weights' readers, so the server does it in the background.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import numpy as np
from tokenizers import Tokenizer

from worker.local.model_server import minilm
from worker.local.model_server.weights import WIDTH, Floats, Weights

# Larger batches are not faster (189 sentences/s on two cores, 186 with 512), and a question waits for one to end.
BATCH_PIECES = 256


@dataclass(frozen=True, slots=True)
class Embedded:
    vectors: Floats
    pieces: int


@dataclass(slots=True)
class _Request:
    """Texts that are embedded in any order; the last one done resolves `result`."""

    pieces: int
    vectors: Floats
    missing: int
    result: "Future[Embedded]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, order=True)
class _Text:
    """Ordered by its request's size, so that a question overtakes the chunks of a document that is being ingested."""

    request_pieces: int
    arrival: int
    length: int
    row: int
    pieces: Sequence[int] = field(compare=False)
    request: _Request = field(compare=False)


class Batcher:
    """`close` it: its threads wait for work until then."""

    def __init__(self, weights: Weights, tokenizer: Tokenizer, threads: int) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._arrivals = count()
        self._waiting: list[_Text] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True, name="embedding") for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, texts: Sequence[str]) -> "Future[Embedded]":
        """The vectors, in the order of the texts (at least one). Cancelling takes back what has not begun."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        size = sum(len(pieces) for pieces in encoded)
        request = _Request(size, np.empty((len(encoded), WIDTH), np.float32), missing=len(encoded))
        with self._changed:
            arrival = next(self._arrivals)
            for row, pieces in enumerate(encoded):
                heappush(self._waiting, _Text(size, arrival, len(pieces), row, pieces, request))
            self._changed.notify_all()
        return request.result

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                vectors = minilm.embed(self._weights, [text.pieces for text in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits must learn of it
                self._fail(batch, error)
            else:
                self._deliver(batch, vectors)

    def _next_batch(self) -> list[_Text]:
        """At least one text, or none after `close`."""
        with self._changed:
            while True:
                if self._closed:
                    return []
                if batch := self._pop_batch():
                    return batch
                self._changed.wait()

    def _pop_batch(self) -> list[_Text]:
        batch: list[_Text] = []
        room = BATCH_PIECES
        while self._waiting and (not batch or self._waiting[0].length <= room):
            text = heappop(self._waiting)
            if not text.request.result.cancelled():
                batch.append(text)
                room -= text.length
        return batch

    def _deliver(self, batch: Sequence[_Text], vectors: Floats) -> None:
        with self._changed:  # two threads may finish a request at once
            for text, vector in zip(batch, vectors, strict=True):
                request = text.request
                request.vectors[text.row] = vector
                request.missing -= 1
                # The client may be gone, or another part of the request have failed.
                waited_for = not request.result.done() and request.missing == 0
                if waited_for and request.result.set_running_or_notify_cancel():
                    request.result.set_result(Embedded(request.vectors, request.pieces))

    def _fail(self, batch: Sequence[_Text], error: Exception) -> None:
        with self._changed:
            for request in {id(text.request): text.request for text in batch}.values():
                if not request.result.done() and request.result.set_running_or_notify_cancel():
                    request.result.set_exception(error)
