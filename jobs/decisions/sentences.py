"""Where sentences end, by rules: punctuation, space, what follows; never in inline code. For Latin and CJK stops."""

import re

# The look-behind keeps a run of stops from being tried again at each of its characters, which would be quadratic.
_STOP = re.compile(
    r"""
      (?<![.!?\u2026])[.!?\u2026]++["'\u201d\u2019)\]*_`]*+\s++
    | [\u3002\uff01\uff1f]++["\u201d\u2019\uff09\u300d\u300f]*+\s*+   # CJK: no space needed
    | \n[ \t]*+\n\s*+
    | (?<!`)`(?!`)[^`\n]++`(?!`)   # code: no sentence ends in it; two marks are quotes as TeX has them
    """,
    re.VERBOSE,
)
# A single letter is one as in "J. Smith" and "p. 3", but not a unit as in "15 s.".
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|al|approx|incl|resp|figs?|eq|sec|ch|vol|pp|dr|mrs?|ms|prof|st|jr|sr|inc|ltd|corp|dept"
    r"|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|u\.s|u\.k)|(?-i:\b[A-Z]|(?<!\d\s)\b[a-z]))\.$",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 8
_CLOSING = "\"'\u201d\u2019)]*_`"


def sentence_spans(text: str) -> tuple[tuple[int, int], ...]:
    """(start, end) of every sentence, with the space that follows it: together they are the whole text, in order."""
    ends = [match.end() for match in _STOP.finditer(text) if _ends_sentence(text, match)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    starts = [0, *ends[:-1]]
    return tuple((start, end) for start, end in zip(starts, ends, strict=True) if start < end)


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    mark = stop.group()
    if mark[0] == "`":
        return False
    if mark[0] != ".":
        return mark[0] not in "!?…" or not text[stop.end() : stop.end() + 1].islower()
    if text[stop.end() : stop.end() + 1].islower():
        return False
    before = text[max(0, stop.start() - _LONGEST_ABBREVIATION) : stop.start() + 1]
    has_closing = mark.rstrip()[-1] in _CLOSING
    return has_closing or len(mark.rstrip()) > 1 or not _ABBREVIATION.search(before) or "\n\n" in mark
