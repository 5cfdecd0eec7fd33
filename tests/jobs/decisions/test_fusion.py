from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.fusion import Candidate, alike, fuse
from tests.jobs.decisions.documents import paragraphs

QUESTION = "How long does a lease of a queue row last?"


def candidate(
    chunk_id: int, content: str, similarity: float | None = 0.5, document: str = "d", ordinal: int = 0
) -> Candidate:
    return Candidate(
        chunk_id=chunk_id,
        document_id=document,
        ordinal=ordinal,
        title="Title",
        source=None,
        heading_path=(),
        content=content,
        tokens=len(content.split()),
        similarity=similarity,
        text_rank=None,
        vector_position=None,
        text_position=None,
    )


def found(contents: list[str], similarities: list[float | None], documents: list[int]) -> list[Candidate]:
    return [
        candidate(id, content, similarity, f"d{document}", ordinal=10 * id)
        for id, (content, similarity, document) in enumerate(zip(contents, similarities, documents, strict=False))
    ]


candidates = st.builds(
    found,
    st.lists(paragraphs, max_size=12),
    st.lists(st.none() | st.floats(-1, 1), min_size=12, max_size=12),
    st.lists(st.integers(0, 4), min_size=12, max_size=12),
)


@settings(max_examples=40)
@given(candidates, st.integers(0, 12))
def test_the_best_are_some_of_the_candidates_once_each_with_scores_from_0_to_1(
    given_: list[Candidate], limit: int
) -> None:
    ranked = fuse(given_, question=QUESTION, limit=limit)
    ids = [r.candidate.chunk_id for r in ranked]
    assert len(ids) == len(set(ids)) <= limit
    assert all(r.candidate in given_ and r.content in r.candidate.content for r in ranked)
    assert all(0 <= r.score <= 1 for r in ranked)


@settings(max_examples=40)
@given(candidates, st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_are_found_does_not_matter(given_: list[Candidate], random: object) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    ranked, again = (fuse(c, question=QUESTION, limit=5) for c in (given_, shuffled))
    assert [r.candidate.chunk_id for r in ranked] == [r.candidate.chunk_id for r in again]


@settings(max_examples=40)
@given(candidates)
def test_no_text_that_was_found_is_lost_when_there_is_room(given_: list[Candidate]) -> None:
    ranked = fuse(given_, question=QUESTION, limit=len(given_))
    shown = "\n".join(r.content for r in ranked)
    for c in given_:
        assert c.content.strip() in shown or any(alike(c.content, r.candidate.content) for r in ranked)


def test_words_decide_between_chunks_of_equal_meaning() -> None:
    about_rows, about_leases = (
        candidate(1, "Rows stand in a table.", 0.6),
        candidate(2, "A lease lasts 15 seconds.", 0.6),
    )
    ranked = fuse([about_rows, about_leases, candidate(3, "Nothing.", 0.1)], question=QUESTION, limit=2)
    assert [r.candidate.chunk_id for r in ranked] == [2, 1]


def test_a_word_that_is_rare_among_all_chunks_counts_though_all_that_was_found_hold_it() -> None:
    rare = [candidate(id, f"Lease lease {id}", 0.5, f"d{id}") for id in range(4)]
    common = candidate(9, "How long does a queue row last?", 0.5, "d9")
    found = [*rare, common]
    counted = {"lease": 0.01, "long": 0.5, "queue": 0.5, "row": 0.9, "last": 0.6}
    by_what_was_found = fuse(found, question=QUESTION, limit=5)
    by_all_chunks = fuse(found, question=QUESTION, limit=5, word_shares=counted)
    assert by_what_was_found[0].candidate == common
    assert by_all_chunks[-1].candidate == common


def test_the_weight_of_words_is_a_choice() -> None:
    named, near = candidate(1, "A lease of a queue row.", 0.1), candidate(2, "It ends after 15 s.", 0.9)
    first = [fuse([named, near], question=QUESTION, limit=1, words_weight=w)[0].candidate for w in (0.0, 1.0)]
    assert first == [near, named]


def test_meaning_finds_a_chunk_that_shares_no_word() -> None:
    near, far = candidate(1, "It ends after 15 s.", 0.9), candidate(2, "The queue of rows.", 0.1)
    assert fuse([near, far], question=QUESTION, limit=1)[0].candidate == near


def test_a_page_that_is_almost_as_good_comes_before_a_third_chunk_of_the_best_page() -> None:
    page = [candidate(id, f"Lease {id}.", 0.9 - id / 1000, "a", ordinal=10 * id) for id in range(3)]
    other = candidate(9, "Lease 9.", 0.85, "b")
    ranked = fuse([*page, other, candidate(10, "Lease 10.", 0.0, "c")], question=QUESTION, limit=2)
    assert {r.candidate.document_id for r in ranked} == {"a", "b"}


def test_a_passage_is_worth_more_where_another_document_says_the_like_and_is_worth_more() -> None:
    first = candidate(1, "Carrots grow in sandy soil.", 0.6, "a")
    second = candidate(2, "Workers renew what they hold every five seconds.", 0.6, "b")
    best = candidate(3, "What workers hold they renew: a lease lasts 15 seconds.", 0.9, "c")
    worst = candidate(4, "Soil.", 0.1, "d")
    scores = {r.candidate.chunk_id: r.score for r in fuse([first, second, best, worst], question=QUESTION, limit=4)}
    assert scores[2] > scores[1], "it has the best one beside it"
    alone = [replace(c, document_id="a") for c in (first, second, best, worst)]
    unlifted = {r.candidate.chunk_id: r.score for r in fuse(alone, question=QUESTION, limit=4)}
    assert unlifted[1] == unlifted[2] == scores[1]
    assert scores[3] == unlifted[3], "none is lowered"


def test_an_overlap_of_neighbours_is_shown_once() -> None:
    shared = "This sentence stands at the end of one and at the start of the next."
    first = candidate(1, f"One. {shared}", 0.9, ordinal=4)
    second = candidate(2, f"{shared} Two.", 0.8, ordinal=5)
    forward = fuse([first, second], question=QUESTION, limit=2)
    backward = fuse([replace(first, similarity=0.7), second], question=QUESTION, limit=2)
    assert [r.content for r in forward] == [f"One. {shared}", "Two."]
    assert [r.content for r in backward] == [f"{shared} Two.", "One."]


def test_a_copy_of_a_passage_takes_no_place() -> None:
    copies = [candidate(id, "A lease lasts 15 seconds.", 0.9, f"d{id}") for id in range(3)]
    assert len(fuse(copies, question=QUESTION, limit=3)) == 1


PAGE = (
    "The sweeper looks for rows that are due and that no hint in the queue stands for. It runs in one process of the "
    "fleet at a time, every {} s by default, and enqueues what it finds in pages. A hint that was lost with its queue "
    "comes back within one round, and a row whose worker has died is given out again when its lease has ended."
)


def test_nearly_the_same_text_takes_no_second_place() -> None:
    one, again = PAGE.format(5), PAGE.format(5).replace("by default, ", "")
    found = [candidate(1, one, 0.9, "v1"), candidate(2, again, 0.8, "v2"), candidate(3, "The rows.", 0.1, "x")]
    assert [r.candidate.chunk_id for r in fuse(found, question=QUESTION, limit=3)] == [1, 3]


def test_versions_of_a_page_that_differ_in_a_number_are_both_shown() -> None:
    found = [candidate(1, PAGE.format(5), 0.9, "v1"), candidate(2, PAGE.format(1), 0.8, "v2")]
    assert len(fuse(found, question=QUESTION, limit=3)) == 2


@given(paragraphs, paragraphs)
def test_likeness_is_mutual_and_every_longer_text_is_like_itself(one: str, other: str) -> None:
    assert alike(one, other) == alike(other, one)
    assert alike(one, one) or len(one.split()) < 100
