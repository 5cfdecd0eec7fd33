import re

from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.units import units_of
from tests.jobs.decisions.documents import anything, documents, noise

NEGATED = (
    "It is not 15 seconds.",
    "Nobody waits 3.5 hours.",
    "It never took 1,000 rows!",
    "Version 2.10.3 has no lease?",
)


@given(anything)
def test_units_follow_each_other_and_none_is_blank(text: str) -> None:
    spans = [(unit.start, unit.end) for unit in units_of(text)]
    ends = [0, *(end for _, end in spans)]
    assert all(before <= start < end for before, (start, end) in zip(ends, spans, strict=False))
    assert all(text[start:end].strip() for start, end in spans)
    assert bool(spans) == bool(text.strip())


@given(documents | noise)
def test_no_unit_ends_inside_a_number_or_a_word(text: str) -> None:
    for unit in units_of(text):
        start, end = unit.start, unit.end
        assert not re.match(r"\w\w|\d[.,]\d", text[max(0, start - 1) : start + 2]) or start == 0
        assert not re.match(r"\w\w", text[end - 1 : end + 1])


@given(st.lists(st.sampled_from(NEGATED), min_size=1, max_size=6))
def test_a_negation_stays_with_its_number(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert [text[unit.start : unit.end].strip() for unit in units_of(text)] == sentences


def test_code_tables_and_list_items_are_one_unit_each_and_headings_none() -> None:
    pieces = ("It says so. It does.", "```\na = 1\n\nb = 2\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "- one\n- two")
    text = "# Head\n\n" + "\n\n".join(pieces)
    units = [text[unit.start : unit.end].strip() for unit in units_of(text)]
    assert units == ["It says so.", "It does.", pieces[1], pieces[2], "- one", "- two"]
