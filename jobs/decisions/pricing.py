"""What a call costs. Prices are configuration, with the day they were read; an unknown price is None, never 0."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.errors import Refused

PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    usd_per_mtok_in: float
    usd_per_mtok_cached: float
    usd_per_mtok_out: float


def cost_usd(price: Price | None, *, tokens_in: int, tokens_cached: int, tokens_out: int) -> float | None:
    """The cost in US dollars. tokens_in includes tokens_cached; tokens_out includes reasoning."""
    if price is None:
        return None
    fresh = tokens_in - tokens_cached
    total = (
        fresh * price.usd_per_mtok_in + tokens_cached * price.usd_per_mtok_cached + tokens_out * price.usd_per_mtok_out
    )
    return total / PER_MILLION


def most_usd(price: Price | None, *, tokens_in: int, tokens_out: int) -> float | None:
    """What a call costs that sends and receives so many tokens, none of them cached: its reservation."""
    return cost_usd(price, tokens_in=tokens_in, tokens_cached=0, tokens_out=tokens_out)


def most_tokens(texts: Iterable[str]) -> int:
    """What texts have at most, whichever model counts: a vocabulary over bytes makes no more than one of each."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def over_budget() -> Refused:
    return Refused("limits.usd_per_tenant_and_day", "The budget of today is used up. It starts anew at midnight UTC.")
