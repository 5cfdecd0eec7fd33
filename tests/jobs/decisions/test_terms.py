import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.terms import Bm25, likeness, names, term_shares, terms
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


@settings(max_examples=50)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_of_two_words_the_one_that_fewer_of_all_texts_hold_counts_more(one: float, other: float) -> None:
    texts = [("lease", "row"), ("queue", "row")]
    bm25 = Bm25.over(("lease", "queue"), texts, {"lease": one, "queue": other})
    assert (bm25.score(texts[0]) > bm25.score(texts[1])) == (one < other)


def test_the_share_of_a_word_is_that_of_its_term_and_of_forms_the_greatest() -> None:
    assert term_shares({"Leases": 0.1, "lease": 0.2, "max_rows": 0.3, "the": 0.9}) == {"leas": 0.2, "max_row": 0.3}


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


@settings(max_examples=50)
@given(st.lists(paragraphs, max_size=6))
def test_texts_are_like_themselves_and_as_like_as_the_other_is(texts: list[str]) -> None:
    split = [terms(text) for text in texts]
    like = likeness(split)
    assert like.shape == (len(texts), len(texts))
    assert ((like >= 0) & (like <= 1)).all()
    assert like == pytest.approx(like.T)
    for row, text in enumerate(split):
        assert like[row, row] == pytest.approx(1.0 if text else 0.0)
        assert all((like[row, n] > 0) == bool({*text} & {*other}) for n, other in enumerate(split))


def test_texts_that_share_a_rare_word_are_more_alike_than_those_that_share_a_common_one() -> None:
    like = likeness([("row", "lease"), ("row", "queue"), ("row", "stream"), ("lease", "stem")])
    assert like[0, 3] > like[0, 1] > 0


def test_names_are_what_does_not_begin_with_a_small_letter() -> None:
    assert names("in 1949 the poet Ada Moss wrote") == {"1949", *terms("Ada Moss")}
    assert names("数据库") == {*terms("数据库")}


@settings(max_examples=50)
@given(anything)
def test_names_are_terms(text: str) -> None:
    assert names(text) <= {*terms(text)}
