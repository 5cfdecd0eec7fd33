"""What two texts that look alike must not differ in."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.differing import differ

WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
numbers = st.integers(0, 10**7)
names = st.from_regex(r"[A-Z][a-z]{3,8}[0-9]?|[A-Z]{3,6}|[a-z]{2,4}[A-Z][a-z]{2,5}", fullmatch=True)
texts = st.text(max_size=60) | st.sampled_from(["May I?", "Do not.", "I don't need to, isn't it?", "1. Two\n2. Three"])


@given(numbers, numbers)
def test_another_number_is_another_question(one: int, other: int) -> None:
    assert differ(f"Are {one} rows too many?", f"Are {other} rows too many?") == (one != other)
    assert differ(f"Are {one} rows too many?", "Are rows too many?")


@given(numbers)
def test_a_number_is_the_same_however_it_is_written(number: int) -> None:
    assert not differ(f"Are {number:,} rows too many?", f"Are {number} rows too many?")
    assert not differ(f"Are {number}.50 $ too many?", f"Are {number}.5 $ too many?")


@given(st.sampled_from(WORDS), st.sampled_from(WORDS))
def test_a_number_in_words_is_that_number(one: str, other: str) -> None:
    digits = WORDS.index(other) + 2
    assert differ(f"May I open {one} tickets?", f"May I open {other} tickets?") == (one != other)
    assert differ(f"May I open {one} tickets?", f"May I open {digits} tickets?") == (one != other)


@given(names, names)
def test_another_name_is_another_question(one: str, other: str) -> None:
    same = one.casefold() == other.casefold()
    if f"{one}s".casefold() != other.casefold() and f"{other}s".casefold() != one.casefold():
        assert differ(f"Does it run on {one} too?", f"Does it run on {other} too?") != same


@given(texts, texts)
def test_the_verdict_is_the_same_in_both_directions_and_none_on_the_same_text(one: str, other: str) -> None:
    assert differ(one, other) == differ(other, one)
    assert not differ(one, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HIV is treated by whom?", "HPV is treated by whom?"),  # names, also where a sentence begins
        ("Is it legal in the US?", "Is it legal, used so?"),
        ("H1N1 or flu?", "H5N1 or flu?"),
        ("Is it on the 2nd?", "Is it on the 3rd?"),
        ("Did it fail once?", "Did it fail twice?"),
        ("What is the first step?", "What is the second step?"),
        ("Is 1.2 supported?", "Is 1.20.1 supported?"),
        ("Was it on 1/2/2024?", "Was it on 1/2/2025?"),
        ("What if I do not pay?", "What if I do not have to pay?"),
        ("Must I not sign?", "Do I need not sign?"),
        ("Is it able to restart?", "Is it unable to restart?"),
        ("it doesnt start", "it does start"),
        ("I don't know why it does not start.", "I don't know why it does start."),
        ("Is it not only slow but wrong?", "Is it not slow but wrong?"),
    ],
)
def test_a_wrong_one_is_seen(one: str, other: str) -> None:
    assert differ(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It stopped.  She left it. Can I start it?", "It stopped, left alone: may I start it?"),
        ("Wait...Is it safe?", "is it safe to wait"),
        ("Hello,\nI'm lost. Where is the door?", "where is the door, lost"),
        ("Is it Hodgkin's?", "Is it Hodgkins?"),
        ("Which STDs are there?", "Which STD is there?"),
        ("IS IT SAFE?", "is it safe?"),
        ("First: which one is the 1st?", "Which is first?"),
        ("It was the 4th day", "it was the fourth day"),
        ("Wait a second: is it safe?", "Wait: is it safe?"),
        ("Twice a day?", "2 times a day?"),
        ("1. Stop it.\n2. Start it.", "(1) Stop it.\n(2) Start it."),
        ("Stop it.\nStart it.", "1. Stop it.\n2. Start it."),
        ("Is it ready or not?", "Is it ready?"),
        ("Can it tell whether or not I paid?", "Can it tell whether I paid?"),
        ("I am not sure what it is.", "What is it?"),
        ("I don't know which it is.", "Which is it?"),
        ("It is free, isn't it?", "Is it free?"),
        ("I cannot start it", "I am unable to start it"),
        ("it doesnt start", "it does not start"),
        ("I do not need to pay?", "I don't have to pay?"),
    ],
)
def test_what_says_the_same_is_no_difference(one: str, other: str) -> None:
    assert not differ(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Darf ich es mit Alkohol nehmen?", "Darf ich es nicht mit Alkohol nehmen?"),
        ("Hat es eine Grenze?", "Hat es keine Grenze?"),
        ("Puis-je annuler avec remboursement ?", "Puis-je annuler sans remboursement ?"),
        ("Je peux annuler ?", "Je ne peux pas annuler ?"),
        ("¿Puedo viajar con billete?", "¿Puedo viajar sin billete?"),
        ("Posso usarlo con acqua?", "Posso usarlo senza acqua?"),
        ("Posso cancelar com multa?", "Posso cancelar sem multa?"),
        ("Mag ik het met water gebruiken?", "Mag ik het zonder water gebruiken?"),
        ("Czy mogę to oddać z paragonem?", "Czy mogę to oddać bez paragonu?"),
        ("Можно ли вернуть товар с чеком?", "Можно ли вернуть товар без чека?"),  # noqa: RUF001 - it is Russian
        ("我可以退款吗", "我不可以退款吗"),
        ("返品できます", "返品できません"),
    ],
)
def test_a_negation_is_a_difference_in_other_languages_too(one: str, other: str) -> None:
    assert differ(one, other)
    assert not differ(other, other)


@pytest.mark.parametrize("piece", ["9", "_", "Aa ", "``` "])
def test_a_long_question_is_told_apart_in_the_time_of_a_short_one(piece: str) -> None:
    text, began_s = piece * (100_000 // len(piece)), process_time()
    differ(text, f"{text} b")
    assert process_time() - began_s < 5.0  # not the minutes of a scan from each of its characters
