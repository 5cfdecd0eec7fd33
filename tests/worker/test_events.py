"""docs/events.md says what the machine logs."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
ROW = re.compile(r"\| `(?P<event>[a-z_.]+)` \| (?P<levels>[a-z, ]+) \| (?P<fields>[^|]*) \| [^|]+ \|")


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as the page describes it, or as one call logs it."""

    levels: frozenset[str]
    fields: frozenset[str]


def documented() -> dict[str, Logged]:
    page = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
    rows = [ROW.fullmatch(line) for line in page.splitlines() if line.startswith("| `")]
    assert None not in rows, "a row of docs/events.md has another form"
    return {
        row["event"]: Logged(frozenset(row["levels"].split(", ")), frozenset(re.findall(r"`([a-z_]+)`", row["fields"])))
        for row in rows
        if row is not None
    }


def calls_in(source: str) -> Iterator[tuple[str, Logged]]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
            ) if level in LEVELS:
                yield event, Logged(frozenset({level}), frozenset(k.arg for k in node.keywords if k.arg is not None))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in LEVELS:
                raise AssertionError(f"line {node.lineno}: an event's name is literal")


def sources() -> list[Path]:
    """The machine's and the jobs'. The embedded stack's logs are its own."""
    found = [*(REPOSITORY / "worker").rglob("*.py"), *(REPOSITORY / "jobs").rglob("*.py")]
    return [path for path in found if (REPOSITORY / "worker" / "local") not in path.parents]


def test_every_event_of_the_code_is_on_the_page_with_its_levels_and_no_other_is() -> None:
    levels: dict[str, set[str]] = {}
    for path in sources():
        for event, logged in calls_in(path.read_text(encoding="utf-8")):
            levels.setdefault(event, set()).update(logged.levels)
    assert {event: set(logged.levels) for event, logged in documented().items()} == levels


def test_every_field_of_an_event_is_on_the_page() -> None:
    page = documented()
    for path in sources():
        for event, logged in calls_in(path.read_text(encoding="utf-8")):
            assert logged.fields <= page[event].fields, f"{event} in {path.name}"
