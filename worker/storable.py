"""What Postgres can keep: text without NUL, jsonb without half a surrogate pair. Models and PDF files yield both."""

import re
from collections.abc import Mapping
from typing import Any

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # one UTF-16 code unit, as what it replaces: offsets into the text stay right


def storable(value: Any) -> Any:
    """The same JSON value, with U+FFFD in the place of every character that cannot be stored."""
    match value:
        case str():
            return UNSTORABLE.sub(REPLACEMENT, value)
        case Mapping():
            return {storable(key): storable(member) for key, member in value.items()}
        case list() | tuple():
            return [storable(member) for member in value]
        case _:
            return value
