"""How far a growing text may be shown already."""

import re

# A link, image, tag or address that has not ended after so many characters is let go: nothing may hold a stream long.
HOLD_CHARS = 512

# What may go on where the text ends, links aside.
_UNFINISHED = re.compile(
    r"""
      <!--(?:(?!-->).)*+\Z
    | <(?:[/!?]?[a-z][^<>]*+|[/!?]?)\Z                         # <b title="
    | (?:\b(?:https?|ftp)://|\bwww\.)[^\s<>()\[\]"'`]*+\Z      # an address
    | \b(?:h|ht|htt|https?:?/?|f|ft|ftp:?/?|w|ww|www)\Z        # the beginning of one
    | !\Z                                                      # of an image
    | [\ud800-\udbff]\Z                                        # half of a surrogate pair
    | [\u2600-\u27bf\U0001f000-\U0001faff][\ufe0f\u200d\U0001f000-\U0001faff]*+\Z   # a picture of several characters
    | .?\u200d\Z                                               # a joiner waits for what it joins
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BRACKET = re.compile(r"\\.|!?\[|\]|\n[ \t]*\n", re.DOTALL)


def safe_prefix(text: str) -> str:
    """The part that may be shown: what follows may still become a link, an image, a tag, an address or a citation.

    No more than HOLD_CHARS characters are held back.
    """
    start = max(0, len(text) - HOLD_CHARS)
    unfinished = _UNFINISHED.search(text, start)
    return text[: min(unfinished.start() if unfinished else len(text), _unfinished_link(text, start))]


def utf16_length(text: str) -> int:
    """The length in UTF-16 code units: JavaScript's `length`, in which the stream's offsets are counted."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


def _unfinished_link(text: str, start: int) -> int:
    """Where the first link or image begins that the text may not have ended yet; the text's length where there is none.

    `[` may become a citation or a link, and so may `[…]`, until the next character is no parenthesis.
    """
    opened: list[int] = []
    position = start
    while bracket := _BRACKET.search(text, position):
        position = bracket.end()
        if bracket.group().endswith("["):
            opened.append(bracket.start())
        elif bracket.group() == "]" and opened:
            begin = opened.pop()
            end = _target_end(text, position)
            if end is None:
                return opened[0] if opened else begin
            position = end
        elif bracket.group()[0] == "\n":  # no link crosses a blank line
            opened.clear()
    return opened[0] if opened else len(text)


def _target_end(text: str, position: int) -> int | None:
    """The end of the `(…)` that makes a link of a bracket; position where there is none; None: not yet known."""
    if position == len(text):
        return None
    if text[position] != "(":
        return position
    depth = 0
    for index in range(position, len(text)):
        if text[index] == "\n":
            return position
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index + 1
    return None
