import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.dialogue import is_dialogue, smoothed
from jobs.decisions.fusion import Candidate, Ranked

TURNS = "Ann: Shall we begin?\n\nBob Moss: Yes. The lease is too long.\n\nAnn: How long?\n\nBob Moss: A minute."


def ranked(document: str, ordinal: int, score: float) -> Ranked:
    found = Candidate(ordinal, document, ordinal, "", None, (), "text", 1, score, None, None, None)
    return Ranked(found, score, "text")


@pytest.mark.parametrize("text", [TURNS, TURNS.replace("\n\n", "\n"), TURNS.replace("Ann:", "**Ann:**")])
def test_a_dialogue_is_told_by_its_speakers(text: str) -> None:
    assert is_dialogue([text])


@pytest.mark.parametrize(
    "text",
    [
        "Ann was asked: how long? Nobody knew.\n\nBob said: a minute.",
        "Q: How long?\n\nA: A minute.\n\nQ: Why?\n\nA: Nobody knows.",
        "lease_s: 15\npage: 2\nlease_s: 16\npage: 3",
        "Note: it is long.\n\nWarning: it is short.",
        "",
    ],
)
def test_colons_alone_make_no_dialogue(text: str) -> None:
    assert not is_dialogue([text])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_smoothed_scores_lie_between_0_and_1_in_whatever_order(scores: list[float]) -> None:
    passages = [ranked("d", place, score) for place, score in enumerate(scores)]
    found = dict(zip(range(len(scores)), smoothed(passages), strict=True))
    assert all(0 <= score <= 1 for score in found.values())
    backwards = smoothed(passages[::-1])
    assert backwards == [found[place] for place in reversed(range(len(scores)))]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8, unique=True))
def test_passages_of_different_documents_keep_their_order(scores: list[float]) -> None:
    found = smoothed([ranked(str(place), 0, score) for place, score in enumerate(scores)])
    in_order = sorted(zip(scores, found, strict=True))
    assert [score for _, score in in_order] == sorted(found)


def test_a_passage_between_good_ones_is_worth_more_than_one_that_stands_alone() -> None:
    around = [ranked("d", 0, 0.9), ranked("d", 1, 0.2), ranked("d", 2, 0.8), ranked("d", 30, 0.3), ranked("d", 60, 0.0)]
    _, between, _, alone, _ = smoothed(around)
    assert between > alone
