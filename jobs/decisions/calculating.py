"""Which calculations a text writes down, and whether their results are right.

Read are `12 * 3 = 36`, `$1,200 / 3 = $400`, `20% of 50 = 10`, `2 + 3 = 5 x 2 = 10`, `15 + 25 = <<15+25=40>>40` and the
like. A form that is not known is passed over, since a false alarm costs a call; units and words inside a term are one.
Numbers may be written as in English (1,200.5) or as elsewhere (1.200,5; 1 200,5; 1'200.5): a calculation is right if it
is in one of the two. A result may be rounded or cut off at its last digit: 10 / 3 = 3.33, but 2 / 4 = 0.5.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from jobs.decisions.citing import without_code

MOST_TOKENS = 60  # of a term: what is longer is passed over, so that no text costs much
MOST_DIGITS = 24
MOST_EXPONENT = 16
_MOST_PLACES = 9
_EXACT = 100  # places: nothing was rounded

Kind = Literal["number", "operator", "open", "close", "percent", "equals", "other"]
Decimal = Literal[".", ","]

_ANNOTATION = re.compile(r"<<([^<>\n]{1,200})>>")  # GSM8K's: the calculation again, before its result
_TIMES = "\u00d7\u00b7\u2217\u22c5"
_MONEY = "$\u20ac\u00a3\u00a5\u20b9"
_SPACES = " \u00a0\u202f\u2009'\u2019"  # between groups of three digits
_MARKUP = (  # what is written in other ways, in the one that is read
    (rf"\\(?:times|cdot)(?![a-z])|\\\*|(?<=[0-9])[ ]?[{_TIMES}][ ]?(?=[0-9(.{_MONEY}-])", " * "),
    (r"\\div(?![a-z])|\u00f7", " / "),
    (r"\\(?:[()\[\]]|left|right)", " "),
    (r"\\([$%])", r"\1"),
    (rf"(?<!\S)\*\*(?=\S)|(?<=[={_MONEY}][ ])\*\*|(?<==)\*\*|(?<=\w)\*\*(?=\s|[.,;:!?)]|$)", ""),  # bold
    (r"^[ \t>]*(?:[-*+\u2022]|[0-9]{1,2}[.)])[ \t]+", ""),  # a list's item, a quotation
    (r"\u2212", "-"),
    (rf"(?<=[0-9])[ ]?%[ ]?(?:of|von|de|di|van)[ ](?=[{_MONEY}]?[0-9])", "% * "),
    (rf"(?:[{_MONEY}]|\b(?:USD|EUR|GBP)\b)[ ]?(?=[.0-9(])", ""),
    (rf"(?<=[0-9])[ ]?(?:[{_MONEY}](?![0-9])|(?:USD|EUR|GBP)\b)", ""),
    (r"(?<=[0-9])(?<!\b0)[xX](?=[0-9(])", " * "),
)
_PLAIN = tuple((re.compile(pattern), replacement) for pattern, replacement in _MARKUP)
_TOKEN = re.compile(
    rf"""
      (?P<number>
          (?<![\w.,]) (?: [0-9]{{1,3}}(?:[{_SPACES}][0-9]{{3}})+(?![0-9]) | [0-9]+ ) (?:[.,][0-9]+)*
        | (?<![\w.,])\.[0-9]+ )
    | (?P<operator> \*\* | [-+*/^] | (?<=[0-9)%\s])[xX](?=\s*[-0-9(.]) )
    | (?P<open> \( ) | (?P<close> \) ) | (?P<percent> % )
    | (?P<equals> (?<![=<>!:~\u2248\u2260])=(?![=<>~]) )
    | (?P<other> \w+ | \S )
    """,
    re.VERBOSE,
)
_GROUPED = rf"[0-9]*|[0-9]{{1,3}}(?P<by>[%s{_SPACES}])(?:[0-9]{{2,3}}(?P=by))*[0-9]{{3}}"  # 1,200 or 12,00,000
_WHOLE: Mapping[Decimal, re.Pattern[str]] = {".": re.compile(_GROUPED % ","), ",": re.compile(_GROUPED % ".")}
_NO_DIGIT = re.compile(r"[^0-9]")
_NOT_ALONE = re.compile(
    r"\s*(?:k|m|bn|thousand|million|billion|trillion|hundred|dozen|lakh|crore|tausend|mio|mrd|million\w*|remainder|rem|rest|r)\b",
    re.IGNORECASE,
)
_FUNCTION = re.compile(r"sin|cos|tan|log|ln|exp|sqrt|frac|\u221a", re.IGNORECASE)


class _Unread(Exception):
    """The term is of no form that is known."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Kind
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calculation:
    """A term and what the text says that it is, each as it stands there."""

    term: str
    result: str
    is_right: bool


def calculations(text: str) -> list[Calculation]:
    """The calculations that can be read, in the order of their terms. Code is passed over."""
    plain = without_code(text)
    annotated = [match[1] for match in _ANNOTATION.finditer(plain)]
    lines = [*_ANNOTATION.sub("", plain).splitlines(), *annotated]
    return [calculation for line in lines for calculation in _of_line(line)]


def _of_line(line: str) -> Iterator[Calculation]:
    if "=" not in line:
        return
    for pattern, replacement in _PLAIN:
        line = pattern.sub(replacement, line)
    for run, before, after in _runs(line):
        sides = _split(run)
        for number, (left, right) in enumerate(pairwise(sides)):
            whole = before if number == 0 else None
            follows = line[right[-1].end :] if right and number == len(sides) - 2 and after else ""
            found = _judged(line, left, right, before=whole, follows=follows)
            if found is not None:
                yield found


def _runs(line: str) -> Iterator[tuple[list[_Token], _Token | None, _Token | None]]:
    """What stands between words, with the word before it and the one after it."""
    run, before = list[_Token](), None
    for match in _TOKEN.finditer(line):
        token = _Token(match.lastgroup or "other", match[0], match.start(), match.end())  # type: ignore[arg-type] # the groups are the kinds
        if token.kind != "other":
            run.append(token)
            continue
        if run:
            yield run, before, token
        run, before = [], token
    if run:
        yield run, before, None


def _split(run: Sequence[_Token]) -> list[list[_Token]]:
    sides: list[list[_Token]] = [[]]
    for token in run:
        if token.kind == "equals":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def _judged(
    line: str, left: list[_Token], right: list[_Token], *, before: _Token | None, follows: str
) -> Calculation | None:
    """None: not a calculation, or not one that can be judged."""
    left, right = _balanced(left, from_left=True), _balanced(right, from_left=False)
    if not (_may_be_term(left) and _may_be_term(right)):
        return None
    if not any(token.kind == "operator" for token in left[1:]) or _dangles(line, left[0], before):
        return None
    verdicts = [_is_right(left, right, decimal) for decimal in (".", ",")]
    is_sure = not (_NOT_ALONE.match(follows) or _is_glued(follows) or _mixes_percent(left))
    if True not in verdicts and (False not in verdicts or not is_sure):
        return None
    return Calculation(_text(line, left), _text(line, right), True in verdicts)


def _may_be_term(side: Sequence[_Token]) -> bool:
    return 0 < len(side) <= MOST_TOKENS and side[-1].kind not in {"operator", "open"}


def _balanced(side: list[_Token], *, from_left: bool) -> list[_Token]:
    """Without the parenthesis around a whole calculation: `(2 + 3 = 5)` has one half of it on each side."""
    ours, theirs = ("open", "close") if from_left else ("close", "open")
    unmatched = sum((token.kind == ours) - (token.kind == theirs) for token in side)
    while unmatched > 0 and side and side[0 if from_left else -1].kind == ours:
        side = side[1:] if from_left else side[:-1]
        unmatched -= 1
    return side


def _dangles(line: str, first: _Token, before: _Token | None) -> bool:
    """Whether the term goes on to the left, in a form that was not read: `x + 2 * 3`, `5 km * 2`."""
    if first.kind not in {"number", "open", "operator"} or (before is not None and _FUNCTION.fullmatch(before.text)):
        return True
    if before is not None and before.end == first.start and (before.text[-1].isalnum() or before.text in "_}]^\\"):
        return True
    if first.kind != "operator":
        return before is not None and before.text in {"^", "}", "]", "_", "\\"}
    is_sign = first.text == "-" and line[first.end : first.end + 1].isdigit()
    return not is_sign or (before is not None and (before.end == first.start or len(before.text) == 1))


def _is_glued(follows: str) -> bool:
    """Whether the result goes on in a form that was not read: `12x`, `3:30`, `5^…`."""
    return bool(re.match(r"[^\W\d_]|[:^_{\\\[]\S|\s*[0-9]|[\u00b2\u00b3\u00bc-\u00be]", follows))


def _mixes_percent(side: Sequence[_Token]) -> bool:
    """Whether it may mean a share of what stands before it: 50 + 20 % is 60 to some, and 50.2 to others."""
    has_sum = any(token.text in {"+", "-"} for token in side)
    return has_sum and 0 < sum(token.kind == "percent" for token in side) < sum(t.kind == "number" for t in side)


def _text(line: str, side: Sequence[_Token]) -> str:
    return line[side[0].start : side[-1].end]


def _is_right(left: Sequence[_Token], right: Sequence[_Token], decimal: Decimal) -> bool | None:
    """None: numbers are not written like this, or the form is not known."""
    try:
        value = _Term(left, decimal).value()
    except _Unread:
        return None
    except ZeroDivisionError:
        return False
    said = list(_readings(right, decimal))
    if not said:
        return None
    return any(_agree(value, given, places) for given, places in said)


def _readings(side: Sequence[_Token], decimal: Decimal) -> Iterator[tuple[Fraction, int]]:
    """What a result may say, with its places after the decimal sign: all of it, or its first number."""
    numbers = [token for token in side if token.kind == "number"]
    places = max((_places(token.text, decimal) for token in numbers), default=0)
    if len(numbers) > 1 and not places:
        places = _EXACT  # 1/3 is no rounded number
    try:
        value = _Term(side, decimal).value()
    except (_Unread, ZeroDivisionError):
        pass
    else:
        if side[-1].kind == "percent":
            yield value * 100, places
            places += 2
        yield value, places
    first, second = side[0], side[1] if len(side) > 1 else None
    if second is not None and second.kind == "operator" and (number := _number(first.text, decimal)) is not None:
        yield number, _EXACT if second.text == "/" else _places(first.text, decimal)


def _agree(value: Fraction, said: Fraction, places: int) -> bool:
    """Exactly, where the value has no more places than the result; else to less than one unit of the last place."""
    if _MOST_PLACES < places < _EXACT:  # a machine's own rounding: 0.30000000000000004
        said, places = round(said, _MOST_PLACES), _MOST_PLACES
    unit = Fraction(1, 10**places)
    is_whole = places >= _EXACT or (value / unit).denominator == 1
    return value == said if is_whole else abs(value - said) < unit


class _Term:
    """A recursive descent over the tokens: sums, products, signs, powers, percent."""

    def __init__(self, tokens: Sequence[_Token], decimal: Decimal) -> None:
        self._tokens = tokens
        self._decimal = decimal
        self._at = 0

    def value(self) -> Fraction:
        value = self._sum()
        if self._at < len(self._tokens):
            raise _Unread
        return value

    def _next(self, *texts: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at].text in texts:
            self._at += 1
            return self._tokens[self._at - 1].text
        return None

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._next("+", "-"):
            value += self._product() if sign == "+" else -self._product()
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while sign := self._next("*", "x", "X", "/"):
            value = value / self._power() if sign == "/" else value * self._power()
        return value

    def _power(self) -> Fraction:
        if self._next("-"):
            return -self._power()
        base = self._atom()
        if self._next("^", "**"):
            exponent = self._power()
            size = max(abs(base.numerator), base.denominator)
            if exponent.denominator != 1 or abs(exponent) > MOST_EXPONENT or size >= 10**MOST_DIGITS:
                raise _Unread
            return base ** int(exponent)
        return base

    def _atom(self) -> Fraction:
        if self._next("("):
            value = self._sum()
            if not self._next(")"):
                raise _Unread
        elif self._at < len(self._tokens) and self._tokens[self._at].kind == "number":
            number = _number(self._tokens[self._at].text, self._decimal)
            if number is None:
                raise _Unread
            self._at += 1
            value = number
        else:
            raise _Unread
        return value / 100 if self._next("%") else value


def _number(text: str, decimal: Decimal) -> Fraction | None:
    """None: it is not written like this, as 1,5 is no English number."""
    whole, _, part = text.partition(decimal)
    if len(text) > MOST_DIGITS or not _WHOLE[decimal].fullmatch(whole) or (part and not part.isdecimal()):
        return None
    digits = _NO_DIGIT.sub("", whole)
    return Fraction(f"{digits or '0'}.{part or '0'}")


def _places(text: str, decimal: Decimal) -> int:
    return len(text.partition(decimal)[2])
