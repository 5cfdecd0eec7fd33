"""What makes two texts say different things although nearly all of their words are the same."""

import re
from collections.abc import Iterator

from jobs.decisions.terms import terms

# Numbers, as digits or as words. "one", "once", "first" and "second" often count nothing ("which one", "a second"):
# they are what a digit of the other text may mean, and call for none.
_LIST_MARK = re.compile(r"^\s*\(?\d{1,2}[.)]\s", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_VAGUE = {"one": "1", "once": "1", "first": "1", "second": "2"}
_PLACE = re.compile(r"\b(?:first|second)\b")
_COUNTING = "two three four five six seven eight nine ten eleven twelve"
_ORDINAL = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_VALUES = (
    {word: str(value) for value, word in enumerate(_COUNTING.split(), 2)}
    | {word: str(value) for value, word in enumerate(_ORDINAL.split(), 3)}
    | {"twice": "2"}
)

# In the languages of checking.ADMISSIONS. Of "ne … pas" one half counts, "no" is Spanish as well, and Chinese and
# Japanese write no spaces.
_NOT_ENGLISH = (
    r"\b(?:nicht|nichts|kein(?:e[mnrs]?)?|nie|niemals|niemand|ohne|weder"  # German; "nie" is Polish as well
    r"|pas|jamais|sans|aucune?|rien"  # French
    r"|nunca|jam[aá]s|sin|ning[uú]n[oa]?|nada|tampoco"  # Spanish
    r"|non(?!-)|mai|senza|nessun[oa]?|niente"  # Italian
    r"|n[aã]o|sem|nenhuma?"  # Portuguese
    r"|niet|geen|nooit|zonder"  # Dutch
    r"|bez|nigdy"  # Polish
    r"|не|нет|без|никогда|нельзя)\b"
    r"|[不没沒无無未别]|ない|なし|ません"
)
_NEGATION = re.compile(
    rf"{_NOT_ENGLISH}|\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|unable|unless|except)\b|\b\w+n['\u2019]t\b"
    r"|\b(?:do|does|did|is|are|was|were|has|have|had|ca|wo|could|would|should)nt\b",
    re.IGNORECASE,
)
_DENIES_NOTHING = re.compile(
    r"\bwhether or not\b|\bor not\b(?=\s*(?:[.,;?!]|$))|\bnot (?:only|sure|certain)\b|\bno idea\b"
    r"|\b(?:do not|don['\u2019]?t) (?:know|understand)\b|,\s*\w+n['\u2019]t (?:it|he|she|they|we|you|that)\s*\?",
    re.IGNORECASE,
)
_NEED_NOT = re.compile(r"(?:n['\u2019]?t|\bnot) (?:have|need) to\b|\bneed(?:n['\u2019]t| not)\b", re.IGNORECASE)

_CODE = re.compile(r"`[^`]+`|\b\w*(?:[a-z][A-Z]|_)\w*\b")
_CAPITALISED = re.compile(r"(?<![\w'\u2019])[A-Z][\w'\u2019]*")
_CONTRACTED = re.compile(r"['\u2019](?:m|d|ve|ll|re)$")
_BEGINNING = re.compile(r"(?:^|[.?!\u2026]\s+|\.\.|\n)[\s\"'(*]*$")  # what stands before the first word of a sentence
_LONGEST_GAP = 80  # characters between two sentences
_WORD = re.compile(r"[\w'\u2019]+")


def differ(one: str, other: str) -> bool:
    """Whether one of them has a number, a name or a negation that the other has not: vectors hardly see it."""
    places = [set(_PLACE.findall(text.casefold())) for text in (one, other)]
    return (
        _denies(one) != _denies(other)
        or _lacks(one, other)
        or _lacks(other, one)
        or (all(places) and places[0] != places[1])  # the first step is not the second
    )


def _lacks(text: str, of: str) -> bool:
    """A number or a name of the other."""
    words, folded = {_plain(word) for word in _WORD.findall(text)}, text.casefold()
    return bool(
        _numbers(of, {}) - _numbers(text, _VAGUE)
        or any(name not in words and f"{name}s" not in words for name in _names(of))
        or any(code.strip("`").casefold() not in folded for code in _CODE.findall(of))
    )


def _numbers(text: str, vague: dict[str, str]) -> set[str]:
    text = _LIST_MARK.sub("", text.casefold())
    words = _VALUES | vague
    return {_value(digits) for digits in _NUMBER.findall(text)} | {
        words[word] for word in _WORD.findall(text) if word in words
    }


def _value(digits: str) -> str:
    """1,200 is 1200, and 2.50 is 2.5; dates, times and shares stay as they are written."""
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    return digits.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", digits) else digits


def _denies(text: str) -> tuple[bool, bool]:
    """Whether it says no an odd number of times; whether it says that something need not be, which no "not" equals."""
    said = _DENIES_NOTHING.sub(" ", text)
    return len(_NEGATION.findall(said)) % 2 == 1, _NEED_NOT.search(said) is not None


def _names(text: str) -> Iterator[str]:
    """Capitalised words, but ordinary ones and those that only begin a sentence; of a text in capitals, none."""
    if text == text.upper():
        return
    for found in _CAPITALISED.finditer(text):
        word = _CONTRACTED.sub("", found.group())
        is_marked = any(c.isupper() or c.isdigit() for c in word[1:])
        start = found.start()
        if is_marked or (terms(word) and not _BEGINNING.search(text, max(0, start - _LONGEST_GAP), start)):
            yield _plain(word)


def _plain(word: str) -> str:
    """Hodgkin's and Hodgkins are the same, and so are STDs and STD."""
    word = re.sub(r"['\u2019]", "", word)
    return re.sub(r"(?<=[A-Z]{2})s$", "", word).casefold()
