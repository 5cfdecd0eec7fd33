"""Which answer is given again."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.caching import CachedAnswer, Caching, choose_reuse, question_key, same_probability
from jobs.decisions.compression import Passage
from jobs.decisions.differing import differ

EXACT, SEMANTIC = Caching("exact"), Caching("semantic")
QUESTION = "How long does a session last before it expires?"
REWORDED = "How long until a session expires and how long does it last?"

texts = st.text(max_size=60) | st.sampled_from([QUESTION, REWORDED])
cosines = st.floats(-1, 1)
ids = st.frozensets(st.integers(1, 9), max_size=6)


def passages(*chunk_ids: int) -> tuple[Passage, ...]:
    return tuple(
        Passage(
            chunk_id=n, document_id="d", title="T", source=None, heading_path=(), text=f"text {n}", tokens=2, score=1.0
        )
        for n in chunk_ids
    )


def entry(question: str = REWORDED, key: str = "other", **changes: Any) -> CachedAnswer:
    cached = CachedAnswer(
        id=1,
        key=key,
        question=question,
        answer="one hour",
        citations=(),
        similarity=0.99,
        age_s=10.0,
        is_fresh=True,
        chunk_ids=frozenset({1, 2}),
        seen_chunk_ids=frozenset({1, 2, 3}),
    )
    return replace(cached, **changes)


def chosen(
    cached: CachedAnswer, caching: Caching = SEMANTIC, *, question: str = QUESTION, may_be_stale: bool = False
) -> str:
    found = frozenset({1, 2, 3})
    reuse = choose_reuse([cached], question, "key", passages(1, 2), found, caching, may_be_stale=may_be_stale)
    return reuse.how if reuse else "none"


def test_the_same_key_is_exact_and_a_question_alike_is_similar() -> None:
    assert chosen(entry(key="key"), EXACT) == "exact"
    assert chosen(entry(), EXACT) == "none"
    assert chosen(entry()) == "similar"
    assert chosen(entry(similarity=0.7)) == "none"


@pytest.mark.parametrize(
    "change",
    [
        {"is_private": True},
        {"chunk_ids": frozenset({1, 9})},  # made from what this question does not find
        {"seen_chunk_ids": frozenset({1})},  # it knew nothing of what this question finds
        {"is_fresh": False},
    ],
)
def test_an_answer_from_other_knowledge_is_not_given(change: dict[str, Any]) -> None:
    assert chosen(entry(**change)) == "none"


def test_where_models_failed_a_stale_one_is_given_even_if_something_was_added_since() -> None:
    stale = entry(is_fresh=False, seen_chunk_ids=frozenset({1}))
    assert chosen(stale) == "none"
    assert chosen(stale, may_be_stale=True) == "similar"
    assert chosen(replace(stale, is_private=True), may_be_stale=True) == "none"
    assert chosen(replace(stale, chunk_ids=frozenset({9})), may_be_stale=True) == "none"


def test_an_exact_one_goes_before_a_similar_one_and_a_likelier_one_before_others() -> None:
    near, nearer, same = entry(similarity=0.97), entry(similarity=0.99, id=2), entry(key="key", id=3)

    def best(*cached: CachedAnswer) -> int:
        reuse = choose_reuse(cached, QUESTION, "key", passages(1), frozenset({1, 2}), SEMANTIC)
        assert reuse is not None
        return reuse.cached.id

    assert (best(near, nearer), best(near, nearer, same)) == (2, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is 40 mg too much?", "Is 80 mg too much?"),
        ("May I take it with milk?", "May I take it without milk?"),
        ("Does it run on Linux?", "Does it run on Windows?"),
        ("Can the key be rotated?", "Can't the key be rotated?"),
        ("What does `max_tries` do?", "What does `max_losses` do?"),
    ],
)
def test_what_vectors_hardly_see_is_a_veto(one: str, other: str) -> None:
    assert differ(one, other)
    assert chosen(entry(one, similarity=1.0), question=other) == "none"


def test_case_spaces_and_word_order_are_no_difference() -> None:
    assert not differ("How do  I install it?", "how do i install it?")
    assert not differ("Does it run on Linux?", "On Linux, does it run?")


@given(texts, texts, cosines)
def test_the_verdict_is_the_same_in_both_directions(one: str, other: str, cosine: float) -> None:
    assert differ(one, other) == differ(other, one)
    assert same_probability(one, other, cosine) == same_probability(other, one, cosine)


@given(texts, texts, cosines)
def test_a_probability_is_one_and_grows_with_the_cosine(one: str, other: str, cosine: float) -> None:
    probability = same_probability(one, other, cosine)
    assert 0 <= probability <= 1
    if cosine >= 0:
        assert same_probability(one, other, 1.0) >= probability


@given(texts)
def test_no_question_differs_from_itself(question: str) -> None:
    assert not differ(question, question)


entries = st.builds(
    entry,
    texts,
    st.sampled_from(["key", "other"]),
    similarity=st.just(1.0),
    chunk_ids=ids,
    seen_chunk_ids=ids,
    is_fresh=st.booleans(),
    is_private=st.booleans(),
)


@given(st.lists(entries, max_size=4), st.sampled_from([QUESTION, REWORDED, ""]), ids, ids)
def test_nothing_is_ever_given_that_may_not_be(
    cached: list[CachedAnswer], question: str, shown: frozenset[int], found: frozenset[int]
) -> None:
    prompt = passages(*sorted(shown))
    assert choose_reuse(cached, question, "key", prompt, found, Caching("off"), may_be_stale=True) is None
    for caching in (EXACT, SEMANTIC):
        for may_be_stale in (False, True):
            reuse = choose_reuse(cached, question, "key", prompt, found, caching, may_be_stale=may_be_stale)
            if reuse is None:
                continue
            assert reuse.cached in cached
            assert reuse.cached.is_fresh or may_be_stale
            assert reuse.how == ("exact" if reuse.cached.key == "key" else "similar")
            if reuse.how == "similar":
                assert caching is SEMANTIC
                assert not differ(question, reuse.cached.question)
                assert not reuse.cached.is_private
                assert reuse.cached.chunk_ids <= found
                assert may_be_stale or shown <= reuse.cached.seen_chunk_ids


def test_the_key_is_of_all_that_the_model_is_asked() -> None:
    key = question_key("scope", "Why?", passages(1), ())
    assert question_key("scope", "  why? ", passages(1), ()) == key
    assert question_key("other", "Why?", passages(1), ()) != key
    assert question_key("scope", "Who?", passages(1), ()) != key
    assert question_key("scope", "Why?", passages(1, 2), ()) != key
    assert question_key("scope", "Why?", (replace(passages(1)[0], text="changed"),), ()) != key
    assert question_key("scope", "Why?", passages(1), (("q", "a"),)) != key
