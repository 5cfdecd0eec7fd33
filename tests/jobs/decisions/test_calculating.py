from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.calculating import Calculation, calculations

wholes = st.integers(0, 99_999)
cents = st.integers(0, 999_999).map(lambda cents: Fraction(cents, 100))
OPERATIONS = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
WRITTEN = {
    "*": ("*", "x", "\u00d7", "\u00b7", "\\times", "\\*"),
    "/": ("/", "\u00f7", "\\div"),
    "-": ("-", "\u2212"),
    "+": ("+",),
}
FRAMES = (
    "{}",
    "So it is {}.",
    "({})",
    "- {}",
    "1. {} apples",
    "**{}**",
    "\\({}\\)",
    "First: {}, which is all.\nThen we are done.",
)


def english(number: Fraction) -> str:
    units, hundredths = divmod(int(100 * number), 100)
    return f"{units:,}.{hundredths:02}" if number.denominator != 1 else f"{units:,}"


def continental(number: Fraction) -> str:
    return english(number).translate(str.maketrans(",.", ".,"))


def spaced(number: Fraction) -> str:
    return english(number).replace(",", "\u202f")


@st.composite
def rendered(draw: st.DrawFn, off: st.SearchStrategy[Fraction]) -> str:
    """A calculation of two numbers whose result is written exactly, `off` added to it."""
    sign = draw(st.sampled_from("+-*/"))
    one, two = draw(wholes | cents), draw(wholes | cents)
    if sign == "*":
        two = draw(wholes)
        two = Fraction(two)
    if sign == "/":
        one, two = one * 7, Fraction(7)
    one, two = Fraction(one), Fraction(two)
    result = OPERATIONS[sign](one, two) + draw(off)
    write = draw(st.sampled_from((english, continental, spaced)))
    money = draw(st.sampled_from(("", "$", "\u20ac")))
    operator = draw(st.sampled_from(WRITTEN[sign]))
    term = f"{money}{write(one)} {operator} {money}{write(two)}"
    said = f"-{money}{write(-result)}" if result < 0 else f"{money}{write(result)}"
    return draw(st.sampled_from(FRAMES)).format(f"{term} = {said}")


@given(rendered(st.just(Fraction(0))))
def test_a_right_calculation_is_found_right_in_every_form(text: str) -> None:
    assert [found.is_right for found in calculations(text)] == [True]


@given(rendered(st.integers(1, 10_000).map(Fraction) | st.integers(-10_000, -1).map(Fraction)))
def test_a_changed_result_is_found_wrong_in_every_form(text: str) -> None:
    assert [found.is_right for found in calculations(text)] == [False]


@given(st.text(alphabet="0123456789+-*/^=()%$., x<>\\n'\n", max_size=200) | st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert all(isinstance(found, Calculation) for found in calculations(text))


@given(one=st.integers(1, 9_999), two=st.integers(1, 9_999), places=st.integers(0, 6), is_cut=st.booleans())
def test_a_result_may_be_rounded_or_cut_off_at_any_digit(*, one: int, two: int, places: int, is_cut: bool) -> None:
    unit = Fraction(1, 10**places)
    value = Fraction(one, two)
    units = value // unit if is_cut else round(value / unit)
    said = f"{units // 10**places}.{units % 10**places:0{places}d}" if places else str(units)
    assert [found.is_right for found in calculations(f"{one} / {two} = {said}")] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "15 + 25 = <<15+25=40>>40 cups",
        "8 x $5 x 60% = $<<8*5*60/100=24>>24.",
        "20% of 50 = 10",
        "9/25 = 36%",
        "25% + 25% = 50%",
        "(2 + 3) * 4 = 20",
        "2 + 3 = 5 * 2 = 10",  # each step is right, as people write it
        "-5 + 2 = -3",
        "1/3 + 1/6 = 1/2",
        "2^10 = 1024",
        "2 ** 3 = 8",
        "80 / 120 = <<80/120=2/3>>2/3",
        "0.1 + 0.2 = 0.30000000000000004",
        "17 / 5 = 3 remainder 2",
        "12,00,000 / 2 = 6,00,000",
        "12 * 3 = **36** apples",
    ],
)
def test_these_are_right(text: str) -> None:
    assert calculations(text)
    assert all(found.is_right for found in calculations(text))


@pytest.mark.parametrize(
    "text",
    [
        "15 + 25 = <<15+25=41>>40 cups",
        "8 x $5 x 60% = $25",
        "20% of 50 = 12",
        "9/25 = 35%",
        "2 + 3 = 6 * 2 = 12",
        "1/3 + 1/6 = 1/9",
        "2^10 = 1000",
        "5 / 0 = 5",
        "2 / 4 = 0.6",
        "12 * 3 = **37** apples",
    ],
)
def test_these_are_wrong(text: str) -> None:
    assert not all(found.is_right for found in calculations(text))


@pytest.mark.parametrize(
    "text",
    [
        "x + 2 * 3 = 12",
        "3x + 4 = 10",
        "5 km * 2 = 11",
        "2 apples + 3 apples = 6",
        "1 hour + 30 minutes = 90 minutes",
        "10:30 - 9:00 = 1:30",
        "3 out of 5 = 60%",
        "50 + 20% = 60",
        "a[1] + 2 = 7",
        "f(2) + 1 = 5",
        "2(3+4) = 13",
        "5\u00b2 + 1 = 25",
        "`1 + 1 = 3`",
        "```py\nassert 1 + 1 = 3\n```",
        "1.5 * 2 = 10 million",
        "3 * 4 >= 13, and 2 + 2 == 5, and 2 + 2 \u2248 5",
        "\\frac{3}{4} * 12 = 8",
        "sin 30 * 2 = 1",
        "9^9^9^9 = 1",
        "5 - 1.5 = 3 1/2",
    ],
)
def test_what_is_not_surely_a_calculation_is_passed_over(text: str) -> None:
    assert calculations(text) == []


def test_a_calculation_says_what_stands_there() -> None:
    assert calculations("So 12 * 3 = 35.") == [Calculation("12 * 3", "35", is_right=False)]


def test_long_terms_and_deep_parentheses_cost_nothing() -> None:
    for text in ("(" * 5000 + "1+1" + ")" * 5000 + "=2", "1+" * 5000 + "1=2", "9" * 5000 + "*2=3", "1=" * 5000):
        assert calculations(text) == []
