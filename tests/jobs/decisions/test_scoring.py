import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.scoring import GRADES, cites, contains, grade_in, normalised, token_f1


@given(st.text(), st.text())
def test_the_overlap_is_a_share_and_the_same_from_both_sides(one: str, two: str) -> None:
    assert 0 <= token_f1(one, [two]) <= 1
    assert token_f1(one, [two]) == pytest.approx(token_f1(two, [one]))


@given(st.text())
def test_a_text_agrees_with_itself(text: str) -> None:
    assert token_f1(text, [text]) == 1
    assert contains(f"before {text} after", [text]) or not normalised(text)


@given(st.text(), st.integers(0, GRADES), st.sampled_from(["Score: {}", "**Score: {}**", "score {}/10", "Score: {}\n"]))
def test_the_last_line_s_grade_is_found_whatever_stands_before_it(reasons: str, grade: int, line: str) -> None:
    assert grade_in(f"{reasons}\n{line.format(grade)}") == grade


@pytest.mark.parametrize("text", ["", "8", "Score: 11", "Score: 100", "Score: -", "The score: 8 it is", "Score: 7.5"])
def test_what_is_no_grade_is_none(text: str) -> None:
    assert grade_in(text) is None


def test_the_reference_that_fits_best_counts() -> None:
    assert token_f1("The lease lasts 15 seconds [1].", ["for ever", "the lease lasts 15 seconds"]) == 1


def test_words_are_contained_whole() -> None:
    assert contains("It runs on port 8080.", ["port 8080"])
    assert not contains("It runs on port 80801.", ["port 8080"])
    assert not contains("anything", [""])


def test_one_right_source_is_enough() -> None:
    assert cites(["b.md", "a.md"], ["a.md"])
    assert not cites([], ["a.md"])
