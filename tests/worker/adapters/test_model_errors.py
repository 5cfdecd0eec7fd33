from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.model_errors import LONGEST_WAIT_S, wait_asked_for_s

NOW_S = 1_780_000_000.0
HEADERS = [
    "retry-after-ms",
    "retry-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW_S + 30, UTC), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW_S - 30, UTC), usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "86400"}, LONGEST_WAIT_S),
        ({"retry-after": "-3"}, 0.0),
        ({"x-ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": str(int(NOW_S) + 40)}, 40.0),
        ({"x-ratelimit-reset": str((int(NOW_S) + 40) * 1000)}, 40.0),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "1m30.5s"}, 90.5),
        ({"retry-after": "2", "x-ratelimit-reset-tokens": "1m30s"}, 2.0),
    ],
)
def test_a_response_says_how_long_to_wait(headers: dict[str, str], wait_s: float | None) -> None:
    assert wait_asked_for_s(headers, now_s=NOW_S, is_limit=True) == (None if wait_s is None else pytest.approx(wait_s))


def test_when_a_limit_is_full_again_matters_to_whom_it_refused() -> None:
    headers = {"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6m0s"}
    assert wait_asked_for_s(headers, now_s=NOW_S, is_limit=False) is None
    assert wait_asked_for_s({**headers, "retry-after": "2"}, now_s=NOW_S, is_limit=False) == 2.0


@given(st.dictionaries(st.sampled_from(HEADERS), st.text() | st.floats().map(str) | st.integers().map(str)))
def test_whatever_a_provider_sends_the_wait_is_none_or_a_time_that_passes(headers: dict[str, str]) -> None:
    wait_s = wait_asked_for_s(headers, now_s=NOW_S, is_limit=True)
    assert wait_s is None or 0.0 <= wait_s <= LONGEST_WAIT_S
