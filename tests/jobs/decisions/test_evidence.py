from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.evidence import PassageUnit, worths
from jobs.decisions.fusion import Candidate, Ranked
from jobs.decisions.terms import terms
from tests.jobs.decisions.documents import paragraphs, sentences


def ranked(content: str, score: float, title: str = "Title") -> Ranked:
    return Ranked(Candidate(1, "d", 0, title, None, (), content, 9, score, None, None, None), score, content)


def unit(passage: int, text: str) -> PassageUnit:
    return PassageUnit(passage, 0, len(text), text, len(text.split()), terms(text), None)


@settings(max_examples=50)
@given(st.lists(st.lists(sentences, max_size=4), max_size=4), paragraphs)
def test_each_unit_is_worth_something_from_zero(texts: list[list[str]], question: str) -> None:
    passages = [ranked(" ".join(text), 1 / (place + 1)) for place, text in enumerate(texts)]
    units = [unit(place, sentence) for place, text in enumerate(texts) for sentence in text]
    found = worths(units, passages, question)
    assert len(found) == len(units)
    assert all(worth >= 0 for worth in found)


@given(st.lists(st.none() | st.floats(-1, 1), max_size=6))
def test_what_is_nearer_to_the_question_is_worth_more_and_nothing_less_than_without(near: list[float | None]) -> None:
    units = [unit(0, f"It is {place}.") for place in range(len(near))]
    bare = worths(units, [ranked("", 1.0)], "Which?")
    found = worths([replace(u, similarity=s) for u, s in zip(units, near, strict=True)], [ranked("", 1.0)], "Which?")
    gained = [worth - before for worth, before in zip(found, bare, strict=True)]
    assert all(gain >= 0 for gain in gained)
    known = [(similarity, gain) for similarity, gain in zip(near, gained, strict=True) if similarity is not None]
    assert [gain for _, gain in sorted(known)] == pytest.approx(sorted(gain for _, gain in known))


def test_where_a_number_is_asked_for_a_unit_that_holds_one_is_worth_more() -> None:
    units = [unit(0, "It is so."), unit(0, "It ended soon."), unit(0, "It ended in 1949.")]
    _, without, with_number = worths(units, [ranked("", 1.0)], "When was that?")
    assert with_number > without
    _, without, with_number = worths(units, [ranked("", 1.0)], "Where was that?")
    assert with_number == without


def test_names_lead_from_passage_to_passage_and_common_words_do_not() -> None:
    units = [
        unit(0, "The lease was invented by a teacher, Ada Moss."),
        unit(1, "Opening."),
        unit(1, "The old school of Moss stands in Riga."),
        unit(2, "Opening."),
        unit(2, "The old school of a teacher stands there."),
    ]
    found = worths(
        units, [ranked("", 0.9), ranked("", 0.1), ranked("", 0.1)], "Where did the inventor of the lease live?"
    )
    assert found[2] > found[4]


def test_a_title_names_its_passage_without_what_tells_it_from_others() -> None:
    units = [unit(0, "She starred in the series Charmed."), unit(1, "It ran for years."), unit(2, "It ran for years.")]
    passages = [ranked("", 0.9), ranked("", 0.1, "Charmed (TV series)"), ranked("", 0.1, "Charmed Circle (film)")]
    _, named, other = worths(units, passages, "In which series did she star?")
    assert named > other


def test_a_title_that_is_named_in_part_counts_by_that_part() -> None:
    units = [unit(0, "The battle was in Kansas."), *(unit(place, "They ran for governor.") for place in (1, 2, 3))]
    passages = [
        ranked("", 0.9),
        *(ranked("", 0.1, title) for title in ("Kansas election", "Kansas election of 1994", "Montana election")),
    ]
    _, half, third, none = worths(units, passages, "Who ran in the state where the battle was?")
    assert half > third > none
