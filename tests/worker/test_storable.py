import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.storable import storable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # surrogates, too
STORABLE_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


@given(json_of(ANY_TEXT))
def test_what_is_storable_is_utf_8_without_nul(value: Any) -> None:
    encoded = json.dumps(storable(value), ensure_ascii=False).encode()
    assert b"\\u0000" not in encoded


@given(json_of(STORABLE_TEXT))
def test_what_can_be_stored_stays_as_it_is(value: Any) -> None:
    assert storable(value) == value


@given(ANY_TEXT)
def test_offsets_into_the_text_stay_right(text: str) -> None:
    assert len(storable(text)) == len(text)
    assert len(storable(text).encode("utf-16-le")) == len(text.encode("utf-16-le", "surrogatepass"))


def test_a_nul_out_of_a_pdf_becomes_the_replacement_character() -> None:
    assert storable({"answer": "fi\0le", "pages": ("\ud83d",)}) == {"answer": "fi\ufffdle", "pages": ["\ufffd"]}
