"""What is visibly wrong with a finished answer, without knowing the right one.

A cascade asks a cheap route first and a stronger one where a check of the cheap answer fails. A check sees form, not
truth: an answer that passes may be wrong all the same, and docs/quality.md says how much a failed one tells.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from jobs.decisions.calculating import calculations
from jobs.decisions.citing import cited_numbers, without_code

Check = Literal["ending", "citations", "ignorance", "arithmetic"]
CHECKS: tuple[Check, ...] = get_args(Check)

# An admission stands at the beginning; further on, the text may speak of somebody who did not know.
ADMITS_WITHIN_CHARS = 240

# What models write where they have no answer, by language; compared without regard to case, apostrophes made straight.
ADMISSIONS: Mapping[str, tuple[str, ...]] = {
    "en": (
        r"\bi (?:do not|don't|cannot|can't|could not|couldn't) (?:know|find|answer|determine|say|tell)\b",
        r"\bi(?: am|'m) (?:not sure|unsure|unable|sorry)\b",
        r"\b(?:passages?|documents?|contexts?|sources?|texts?)\b[^.\n]{0,40}\b(?:do|does|did)(?: not|n't)\b",
        r"\b(?:no|not enough|insufficient) information\b",
        r"\bnot (?:mentioned|stated|specified|known|clear) (?:in|from) the\b",
    ),
    "de": (
        r"\bich (?:weiß|weiss)(?: es| das)? (?:leider )?nicht\b",
        r"\bich kann (?:\w+ ){0,4}nicht (?:beantworten|finden|sagen)\b",
        r"\bkeine (?:informationen|angaben?|antwort) (?:zu|über|darüber|dazu|auf|gefunden)\b",
    ),
    "fr": (
        r"\bje ne (?:le )?sais pas\b",
        r"\bje ne (?:peux|trouve|suis) (?:\w+ ){0,2}pas\b",
        r"\b(?:passages?|documents?|textes?|contexte)\b[^.\n]{0,40}\bne (?:contien(?:t|nent)|mentionne(?:nt)?) pas\b",
    ),
    "es": (
        r"\bno lo sé\b",
        r"^no (?:sé|puedo|encuentro|tengo)\b",
        r"\b(?:pasajes?|documentos?|textos?|contexto)\b[^.\n]{0,40}\bno (?:contienen?|mencionan?)\b",
        r"\bno hay (?:suficiente )?información\b",
    ),
    "it": (r"\bnon lo so\b", r"^non (?:so|posso|trovo|ho)\b", r"\bnon ci sono informazioni\b"),
    "pt": (r"\bnão sei\b", r"^não (?:posso|encontro|encontrei|tenho)\b", r"\bnão há informaç(?:ão|ões)\b"),
    "nl": (r"\bik weet het (?:helaas )?niet\b", r"\bik kan (?:\w+ ){0,4}niet (?:beantwoorden|vinden)\b"),
    "pl": (r"\bnie wiem\b", r"^nie (?:mogę|znalazłem|znajduję)\b"),
    "ru": (r"\bя не знаю\b", r"\bнет информации\b"),  # noqa: RUF001 - it is Russian
    "zh": (r"我?不知道", r"无法(?:回答|确定)", r"没有(?:相关)?信息"),
    "ja": (r"(?:分|わ)かりません", r"情報(?:が|は)ありません"),
}
_ADMISSION = re.compile("|".join(phrase for phrases in ADMISSIONS.values() for phrase in phrases), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished text, and what was asked for."""

    text: str
    finish: Literal["stop", "length"]
    passages: int | None = None  # numbered from 1, to be cited; None: there are none to cite


@dataclass(frozen=True, slots=True)
class Cascade:
    """A route's answer is held back until it is checked; where a check fails, `to` answers in its place."""

    to: str  # a route's name
    checks: tuple[Check, ...]


def failed_checks(answer: Answer, checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Those of `checks` that the answer fails, in the order of CHECKS."""
    failed = {
        "ending": _ends_early,
        "citations": _cites_wrongly,
        "ignorance": _knows_nothing,
        "arithmetic": _miscalculates,
    }
    return tuple(check for check in CHECKS if check in checks and failed[check](answer))


def _ends_early(answer: Answer) -> bool:
    text = answer.text.strip()
    return answer.finish == "length" or not text or _fence_is_open(text) or _json_is_broken(text) or _stops_short(text)


def _cites_wrongly(answer: Answer) -> bool:
    """It cites no passage, or one that was not given. Who admits to know nothing has nothing to cite."""
    if not answer.passages:
        return False
    numbers = set(cited_numbers(answer.text))
    if not numbers:
        return not _admits(answer.text)
    return not numbers <= set(range(1, answer.passages + 1))


def _knows_nothing(answer: Answer) -> bool:
    """It admits that it does not know, though it had something to know it from, or needed nothing.

    Where the passages do not hold the answer, to say so is right, and a stronger model can say no more: this check pays
    only where retrieval is better than the cheap model at reading. Without any passage it never fails.
    """
    return answer.passages != 0 and _admits(answer.text) and not any(True for _ in cited_numbers(answer.text))


def _miscalculates(answer: Answer) -> bool:
    return not all(calculation.is_right for calculation in calculations(answer.text))


def _admits(text: str) -> bool:
    beginning = without_code(text).lstrip()[:ADMITS_WITHIN_CHARS].replace("\u2019", "'")
    return _ADMISSION.search(beginning) is not None


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)


def _fence_is_open(text: str) -> bool:
    opened: str | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence[1]
        elif fence[1].startswith(opened) and not fence[2].strip():
            opened = None
    return opened is not None


_FENCED_JSON = re.compile(r"```json[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_BEGINS_JSON = re.compile(r'\{\s*["}]|\[\s*(?:["{\[]|\])')  # not `{name}`, not `[1]`


def _json_is_broken(text: str) -> bool:
    """Whether all of it is meant as JSON, alone or in a fence, and is none."""
    fenced = _FENCED_JSON.fullmatch(text)
    body = fenced[1] if fenced else text
    if fenced is None and not _BEGINS_JSON.match(text):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return True
    return False


_PROSE_ENDS = re.compile(r"[.!?\u2026]['\"\u201d\u2019)\]*_]*\s")
_NO_PROSE = re.compile(r"[ \t]*(?:[-*+\u2022#|>]|\d{1,3}[.)]|```|~~~|    |\t)")
_GOES_ON = re.compile(r"[(,;\u2013\u2014]$|<<[^<>\n]*$")


def _stops_short(text: str) -> bool:
    """Whether its last line is prose that stops in the middle: after other sentences, without a sign that ends one.

    Only prose that has ended sentences before can stop short: a title, a list or a signature ends as it likes.
    """
    line = text.splitlines()[-1] if text.splitlines() else ""
    if _GOES_ON.search(line):
        return True
    paragraph = text.rsplit("\n\n", 1)[-1]
    return line[-1:].isalpha() and not _NO_PROSE.match(line) and _PROSE_ENDS.search(paragraph) is not None
