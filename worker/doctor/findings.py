"""What an examination finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    GOOD = "good"
    NOTE = "note"  # works, and a person may want to know
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was seen, and what to do about it."""

    check: str
    level: Level
    says: str
    cure: str = ""


def good(check: str, says: str) -> Finding:
    return Finding(check, Level.GOOD, says)


def note(check: str, says: str, cure: str) -> Finding:
    return Finding(check, Level.NOTE, says, cure)


def problem(check: str, says: str, cure: str) -> Finding:
    return Finding(check, Level.PROBLEM, says, cure)
