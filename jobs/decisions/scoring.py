"""How good an answer is, beside reference answers and the sources that it should cite."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
GRADES = 10
_GRADE = re.compile(rf"^\W*score\W*(\d|{GRADES})(?:\s*/\s*{GRADES})?\W*$", re.IGNORECASE | re.MULTILINE)
_MARKER = re.compile(r"\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\]")


def normalised(text: str) -> list[str]:
    """Words without case, punctuation, articles and citation markers (as SQuAD's evaluation does, plus the markers)."""
    plain = _MARKER.sub(" ", text).casefold().translate(_PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Overlap of words with the reference that fits best, 0 to 1 (Rajpurkar et al. 2016, section 6.1)."""
    return max((_f1(normalised(answer), normalised(reference)) for reference in references), default=0.0)


def contains(answer: str, references: Sequence[str]) -> bool:
    """Whether a reference stands in the answer, word for word."""
    words = f" {' '.join(normalised(answer))} "
    return any(f" {' '.join(normalised(reference))} " in words for reference in references if normalised(reference))


def cites(cited: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether one of the sources that should be cited is."""
    return not set(wanted).isdisjoint(cited)


def grade_in(text: str) -> int | None:
    """The grade that a judge's text ends with, 0 to GRADES; None: it gives none."""
    grades = _GRADE.findall(text)
    return int(grades[-1]) if grades else None


def _f1(one: Sequence[str], two: Sequence[str]) -> float:
    if not one or not two:
        return float(one == two)
    shared = sum((Counter(one) & Counter(two)).values())
    return 2 * shared / (len(one) + len(two))
