from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.pricing import Price, cost_usd, most_tokens, most_usd
from worker.adapters.tokens import count_tokens

tokens = st.integers(0, 10**7)
usd = st.floats(0, 100)


@given(tokens, tokens, st.floats(0, 1), usd, usd)
def test_a_cached_prompt_never_costs_more_where_cached_tokens_are_cheaper(
    tokens_in: int, tokens_out: int, cached_share: float, usd_in: float, usd_out: float
) -> None:
    price = Price(usd_in, usd_in / 10, usd_out)
    cached = int(tokens_in * cached_share)
    cold = cost_usd(price, tokens_in=tokens_in, tokens_cached=0, tokens_out=tokens_out)
    warm = cost_usd(price, tokens_in=tokens_in, tokens_cached=cached, tokens_out=tokens_out)
    assert cold is not None
    assert warm is not None
    assert warm <= cold + 1e-9


@given(st.lists(st.text(), max_size=5), usd)
def test_texts_never_cost_more_than_was_reserved_for_them(texts: list[str], usd_in: float) -> None:
    price = Price(usd_in, usd_in, 0.0)
    most = most_usd(price, tokens_in=most_tokens(texts), tokens_out=0)
    used = cost_usd(price, tokens_in=sum(map(count_tokens, texts)), tokens_cached=0, tokens_out=0)
    assert most is not None
    assert used is not None
    assert used <= most


def test_an_unknown_price_is_no_price() -> None:
    assert cost_usd(None, tokens_in=10, tokens_cached=0, tokens_out=10) is None


def test_a_million_tokens_cost_what_the_page_says() -> None:
    price = Price(usd_per_mtok_in=1.0, usd_per_mtok_cached=0.05, usd_per_mtok_out=5.0)
    assert cost_usd(price, tokens_in=1_000_000, tokens_cached=500_000, tokens_out=100_000) == 0.5 + 0.025 + 0.5
