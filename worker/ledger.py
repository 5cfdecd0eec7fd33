"""The model calls of one attempt: opened in the ledger before they are made, closed with what they used."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from jobs.decisions.caching import CachedAnswer
from jobs.decisions.checking import Check
from jobs.decisions.pricing import Price, cost_usd
from jobs.errors import JobError
from jobs.ports import ModelName, Opened, Opening, Usage, Work
from worker.ports import Closing, Rows

Prices = Mapping[ModelName, Price]
CountTokens = Callable[[str], int]


class OpenCall:
    """`jobs.ports.Call`: a call that is being made; what it used is noted here until it is closed."""

    def __init__(self, id: str, opening: Opening, monotonic_s: Callable[[], float]) -> None:
        self.id = id
        self._opening = opening
        self._monotonic_s = monotonic_s
        self._began_s = monotonic_s()
        self._first_token_s: float | None = None
        self._usage: Usage | None = None
        self._sent: tuple[str, ...] = ()
        self._received: list[str] = []
        self._spared: CachedAnswer | None = None
        self._is_held_back = False
        self._failed_checks: tuple[Check, ...] | None = None

    def used(self, usage: Usage) -> None:
        self._usage = usage

    def sends(self, prompt: Sequence[str]) -> None:
        self._sent = tuple(prompt)

    def received(self, text: str) -> None:
        if self._first_token_s is None:
            self._first_token_s = self._monotonic_s()
        self._received.append(text)

    def spared(self, cached: CachedAnswer) -> None:
        self._spared = cached

    def held_back(self) -> None:
        self._is_held_back = True

    def checked(self, failed: Sequence[Check]) -> None:
        self._failed_checks = tuple(failed)

    def closed(self, error: BaseException | None, prices: Prices, count_tokens: CountTokens) -> Closing:
        if self._spared is not None and error is None:
            return self._closed_by(self._spared)
        usage = self._usage or self._estimate(count_tokens, has_failed=error is not None)
        model = self._opening.model
        return Closing(
            id=self.id,
            status="succeeded" if error is None else "failed",
            model=model,
            route=self._opening.route,
            duration_ms=round(1000 * (self._monotonic_s() - self._began_s)),
            first_token_ms=self._first_token_ms(has_failed=error is not None),
            tokens_in=None if usage is None else usage.tokens_in,
            tokens_cached=None if usage is None or self._usage is None else usage.tokens_cached,
            tokens_out=None if usage is None else usage.tokens_out,
            tokens_reasoning=None if usage is None or self._usage is None else usage.tokens_reasoning,
            cost_usd=None
            if usage is None
            else cost_usd(
                prices.get(model),
                tokens_in=usage.tokens_in,
                tokens_cached=usage.tokens_cached,
                tokens_out=usage.tokens_out,
            ),
            error_code=None if error is None else _code_of(error),
            is_estimated=usage is not None and self._usage is None,
            failed_checks=self._failed_checks,
        )

    def _first_token_ms(self, *, has_failed: bool) -> int | None:
        """None also for a call that failed while its text was held back: a failed call with a first token is one whose
        text clients have seen, so that the next attempt passes over its route.
        """
        if self._first_token_s is None or (has_failed and self._is_held_back):
            return None
        return round(1000 * (self._first_token_s - self._began_s))

    def _closed_by(self, cached: CachedAnswer) -> Closing:
        return Closing(
            id=self.id,
            status="succeeded",
            model=self._opening.model,
            route=self._opening.route,
            duration_ms=round(1000 * (self._monotonic_s() - self._began_s)),
            tokens_in=0,
            tokens_cached=0,
            tokens_out=0,
            cost_usd=0.0,
            purpose="cache",
            reused_id=cached.id,
            saved_tokens_in=cached.tokens_in,
            saved_tokens_out=cached.tokens_out,
            saved_usd=cached.cost_usd,
        )

    def _estimate(self, count_tokens: CountTokens, *, has_failed: bool) -> Usage | None:
        """What a provider bills that sent no count, or whose stream ended before it: the prompt, and the text so far.

        None where a call failed and no text had come. The provider may have refused the request, or not have begun:
        nobody knows.
        """
        if not self._sent or (has_failed and not self._received):
            return None
        return Usage(sum(map(count_tokens, self._sent)), count_tokens("".join(self._received)))


class AttemptLedger:
    """`jobs.ports.Ledger` for one attempt. `closings` travel with its write-back, so that they cost no round trip."""

    def __init__(
        self, work: Work, rows: Rows, prices: Prices, count_tokens: CountTokens, monotonic_s: Callable[[], float]
    ) -> None:
        self.closings: list[Closing] = []
        self._work = work
        self._rows = rows
        self._prices = prices
        self._count_tokens = count_tokens
        self._monotonic_s = monotonic_s

    @asynccontextmanager
    async def call(self, opening: Opening, *, opened: Opened | None = None) -> AsyncIterator[OpenCall]:
        if opened is None:
            id = await self._rows.open_call(self._work, opening)
        elif opened.is_enough_for(opening):
            id = opened.id
        else:
            id = await self._rows.open_call(self._work, opening, instead_of=opened.id)
        call = OpenCall(id, opening, self._monotonic_s)
        try:
            yield call
        except BaseException as error:
            self.closings.append(call.closed(error, self._prices, self._count_tokens))
            raise
        self.closings.append(call.closed(None, self._prices, self._count_tokens))


def total_usd(calls: Sequence[Closing]) -> float | None:
    """What they cost together; None where the cost of a route's text is unknown: the embedding's would look like all.

    What is not known of others is left out: of a failed call mostly nothing was billed, and a reranker of one's own has
    no price.
    """
    known = [call.cost_usd for call in calls if call.cost_usd is not None]
    is_unknown = any(call.route and call.status == "succeeded" and call.cost_usd is None for call in calls)
    return sum(known) if known and not is_unknown else None


def _code_of(error: BaseException) -> str:
    if isinstance(error, JobError):
        return error.code
    if isinstance(error, asyncio.CancelledError):
        return "attempt.canceled"
    return "internal.unexpected"
