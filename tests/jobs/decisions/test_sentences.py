from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.sentences import sentence_spans
from tests.jobs.decisions.documents import anything


def split(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentence_spans(text)]


@given(anything)
def test_sentences_are_the_whole_text_in_order(text: str) -> None:
    assert "".join(text[start:end] for start, end in sentence_spans(text)) == text
    assert all(start < end for start, end in sentence_spans(text))


@given(st.sampled_from((".", ") ", ". ", ".)", "\n", "! ", ".\n ", "a.b")), st.integers(1, 30))
def test_sentences_of_a_repeated_pattern_are_the_whole_text(pattern: str, times: int) -> None:
    text = pattern * times
    assert "".join(text[start:end] for start, end in sentence_spans(text)) == text


def test_a_stop_ends_a_sentence_but_an_abbreviation_does_not() -> None:
    assert split("Use e.g. Redis. It is fast! See fig. 3 by J. Smith. Version 1.2 is out.") == [
        "Use e.g. Redis.",
        "It is fast!",
        "See fig. 3 by J. Smith.",
        "Version 1.2 is out.",
    ]


def test_a_unit_behind_a_number_ends_a_sentence_but_an_initial_does_not() -> None:
    assert split("A lease takes 15 s. It is short. In 1901 E. Moss was born. See p. 3 of it.") == [
        "A lease takes 15 s.",
        "It is short.",
        "In 1901 E. Moss was born.",
        "See p. 3 of it.",
    ]


def test_no_sentence_ends_inside_code() -> None:
    assert split("Set `a. B` or `c! D`. Then `e`. Stray ` tick.\n\nNext `one.") == [
        "Set `a. B` or `c! D`.",
        "Then `e`.",
        "Stray ` tick.",
        "Next `one.",
    ]


def test_sentences_end_between_quotes_of_two_marks() -> None:
    assert split("He calls it ``one. Then `` two.") == ["He calls it ``one.", "Then `` two."]


def test_a_blank_line_ends_a_sentence_and_so_do_chinese_stops() -> None:
    assert split("no stop here\n\nnext 你好。世界！") == ["no stop here", "next 你好。", "世界！"]


def test_a_quotation_mark_stays_with_its_sentence() -> None:
    assert split('He said "Yes." Then he left.') == ['He said "Yes."', "Then he left."]
