import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.terms import Bm25, terms
from tests.jobs.decisions.documents import anything, paragraphs


@settings(max_examples=50)
@given(anything)
def test_terms_are_found_again_in_any_case(text: str) -> None:
    ascii_only = text.encode("ascii", "ignore").decode().replace("_", " ").lower()
    assert terms(ascii_only) == terms(ascii_only.upper())


@settings(max_examples=50)
@given(st.lists(paragraphs, min_size=1, max_size=5), paragraphs)
def test_a_score_is_positive_exactly_where_a_word_is_shared(texts: list[str], question: str) -> None:
    split = [terms(text) for text in texts]
    bm25 = Bm25.over(terms(question), split)
    assert [bm25.score(text) > 0 for text in split] == [bool({*terms(question)} & {*text}) for text in split]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("queries", "query"),
        ("caching", "caches"),
        ("stopped", "stop"),
        ("installation", "installs"),
        ("workers", "work"),
    ],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert terms(one) == terms(other)


def test_names_in_code_give_their_parts_and_chinese_gives_pairs() -> None:
    assert terms("the max_connections of HTTPServer: Redis数据库") == (
        *("max_connection", "max", "connection"),
        *("httpserv", "http", "serv"),
        *("redi", "数据", "据库"),
    )


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    texts = [("row", "lease"), ("row", "queue"), ("row", "stream")]
    bm25 = Bm25.over(("row", "lease"), texts)
    assert bm25.score(("lease", "x")) > 3 * bm25.score(("row", "x"))
