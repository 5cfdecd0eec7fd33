from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.realtime_server.joining import JoinRefused, Wish, read_wish

NOTHING = Wish(
    private=False,
    ack=False,
    self_broadcast=False,
    replication_ready=False,
    postgres_changes=(),
    wait_s=None,
    token=None,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("broadcast", "presence", "private", "postgres_changes", "postgres_changes_options")


def wish(config: Any, **others: Any) -> Wish:
    return read_wish("realtime:t", {"config": config, **others})


@given(st.dictionaries(st.sampled_from(NAMES), anything) | anything)
def test_a_join_that_makes_no_sense_asks_for_nothing(config: Any) -> None:
    found = wish(config)
    private = isinstance(config, dict) and config.get("private") is True
    assert (found.private, found.ack, found.wait_s, found.token) == (private, False, None, None)


def test_a_join_is_read() -> None:
    change = {"event": "*", "schema": "public"}
    config = {
        "private": True,
        "broadcast": {"ack": True, "self": True, "replication_ready": True},
        "presence": {"enabled": False, "key": ""},
        "postgres_changes": [change, None],
    }
    assert wish(config, access_token="token") == Wish(
        private=True,
        ack=True,
        self_broadcast=True,
        replication_ready=True,
        postgres_changes=(change,),
        wait_s=None,
        token="token",
    )
    assert wish({}) == NOTHING


@pytest.mark.parametrize(
    ("options", "wait_s"),
    [({"wait": True}, 15), ({"wait": True, "timeout": 500}, 0.5), ({"wait": True, "timeout": 10**6}, 20), ({}, None)],
)
def test_a_client_may_wait_for_its_subscription_within_bounds(options: Any, wait_s: float | None) -> None:
    assert wish({"postgres_changes_options": options}).wait_s == wait_s


@pytest.mark.parametrize("config", [{"presence": {"enabled": True}}, {"broadcast": {"replay": {"limit": 1}}}])
def test_what_is_not_served_is_refused(config: Any) -> None:
    with pytest.raises(JoinRefused):
        wish(config)
