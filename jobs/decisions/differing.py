"""What makes two texts say different things although nearly all of their words are the same."""

import re

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|unless|except)\b|\w+n['\u2019]t\b", re.IGNORECASE
)
_NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][\w-]*|\b\w*(?:[a-z][A-Z]|_)\w*\b|`[^`]+`")


def differ(one: str, other: str) -> bool:
    """Whether one of them has a number or a name that the other has not, or more negations: vectors hardly see it."""
    return (
        set(_NUMBER.findall(one)) != set(_NUMBER.findall(other))
        or len(_NEGATION.findall(one)) % 2 != len(_NEGATION.findall(other)) % 2
        or _names_missing(one, other)
        or _names_missing(other, one)
    )


def _names_missing(of: str, in_text: str) -> bool:
    text = in_text.casefold()
    return any(name.strip("`").casefold() not in text for name in _NAME.findall(of))
