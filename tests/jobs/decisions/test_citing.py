import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.citing import MAX_CITATIONS, cite
from jobs.decisions.compression import Passage

PASSAGES = tuple(Passage(100 + n, f"d{n}", f"Title {n}", None, ("Heading",), "Text.", 2, 0.5) for n in range(1, 9))
markers = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda numbers: f"[{', '.join(map(str, numbers))}]")


def numbers(answer: str) -> list[int]:
    return [citation.number for citation in cite(answer, PASSAGES)]


@given(st.lists(markers | st.sampled_from((" word. ", "\n\n", "`[1]`", "[1](x)")), max_size=12).map(" ".join))
def test_citations_are_different_known_and_at_most_five(answer: str) -> None:
    found = cite(answer, PASSAGES)
    assert len(found) == len({citation.number for citation in found}) <= MAX_CITATIONS
    assert all(citation.chunk_id == PASSAGES[citation.number - 1].chunk_id for citation in found)


@given(st.text(alphabet="[]1,;` \n(~9", max_size=60))
def test_any_answer_can_be_read(answer: str) -> None:
    assert set(numbers(answer)) <= set(range(1, 9))


@given(st.permutations(range(1, 6)))
def test_citations_come_in_the_order_of_their_first_mention(order: list[int]) -> None:
    assert numbers(" and ".join(f"this [{n}]" for n in [*order, *reversed(order)])) == order


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes [1].", [1]),
        ("Yes [1, 3]; no [2][4].", [1, 3, 2, 4]),
        ("Unknown [9], none [0], year [2024].", []),
        ("A link [1](http://x) is no citation, [2] is.", [2]),
        ("Use `values[1]` and:\n\n```py\nrow[2]\n```\n\nas said [3].", [3]),
        ("```\nnever closed [1]", []),
        ("[1] [2] [3] [4] [5] [6]", [1, 2, 3, 4, 5]),
    ],
)
def test_markers_are_read_as_people_write_them(answer: str, expected: list[int]) -> None:
    assert numbers(answer) == expected


def test_a_citation_tells_where_it_leads() -> None:
    (citation,) = cite("So it is [2].", PASSAGES)
    assert (citation.chunk_id, citation.document_id, citation.title) == (102, "d2", "Title 2")
