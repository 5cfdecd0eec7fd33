from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.queue.wire import job_id
from worker.row_hints import RowReference, UnfitKey, is_row_hint, key_of, reference_in

NAMES = st.text(st.characters(codec="utf-8"), min_size=1)
KEYS = st.dictionaries(NAMES, st.integers() | st.uuids().map(str), min_size=1)


@given(NAMES, NAMES, KEYS, st.integers(0, 2**31 - 1))
def test_a_hint_brings_back_the_row_that_it_was_made_of(
    schema: str, table: str, key: dict[str, int | str], stamp: int
) -> None:
    row = RowReference(f"{schema}.{table}", key)
    hint = row.hint(lane="bulk", stamp=stamp)
    assert is_row_hint(hint)
    assert reference_in(hint) == row


def test_a_later_change_of_the_same_row_is_another_job() -> None:
    row = RowReference("public.tickets", {"id": 7})
    first, second = (row.hint(lane="bulk", stamp=stamp) for stamp in (1, 2))
    assert (job_id(first), job_id(second)) == ("row/public.tickets?id=%237:1", "row/public.tickets?id=%237:2")


@pytest.mark.parametrize("value", ["a@example.com", "7", None, True, 1.5, {"a": 1}])
def test_a_key_that_may_be_a_user_s_text_goes_nowhere(value: Any) -> None:
    with pytest.raises(UnfitKey, match=r"^record\.id: a key that goes through Redis is a whole number or a UUID$"):
        key_of({"id": value}, ("id",))
