"""What `rowcall eval` measures: questions of a file or of ratings, and variants of the configuration. Pure but for the
file that is read.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
_COMMA = re.compile(r",(?![^\[]*\])")  # not in a list
QUALITY = "quality"  # in a variant: the row's options.quality
QUALITIES = ("auto", "fast", "best")
ROUTE = "route"  # in a variant: takes every row, whatever the rules say; everything else is a key of rowcall.toml


class EvaluationError(Exception):
    """A question set or a variant that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question, and what its answer is judged by: reference answers, sources to cite, or both."""

    input: Row
    answers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration to measure."""

    name: str
    overrides: Row = field(default_factory=dict)  # of rowcall.toml, nested
    options: Row = field(default_factory=dict)  # of each row
    route: str | None = None  # of every row; None: as the configuration routes it


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    variants: tuple[Variant, ...]
    items: tuple[Item, ...]
    baseline: str  # a variant's name
    kind: str = "answer"
    at_once: int = 4  # questions under way
    is_judged: bool = False  # by a model


def read_items(path: Path, *, is_judged: bool = False) -> tuple[Item, ...]:
    """The questions of a JSONL file: {"question" or "input", "answer" or "answers", "source" or "sources"} a line; a
    judge does without the latter two.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error
    items = tuple(_item(line, f"{path}:{n}", is_judged=is_judged) for n, line in enumerate(lines, 1) if line.strip())
    if not items:
        raise EvaluationError(f"{path} holds no question")
    return items


def rated_items(rows: Sequence[Row], *, days: int) -> tuple[Item, ...]:
    """Questions of rows whose answers were rated well, with those as references; of equal questions the first."""
    first: dict[str, Item] = {}
    for row in rows:
        first.setdefault(json.dumps(row["input"], sort_keys=True), Item(row["input"], (row["answer"],)))
    if not first:
        raise EvaluationError(
            f"you have rated no answer well in the last {days} days: there is nothing to compare with"
        )
    return tuple(first.values())


def read_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """Raises EvaluationError also where two have the same name: results are kept by it."""
    variants = tuple(read_variant(text) for text in texts)
    names = [variant.name for variant in variants]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise EvaluationError(f"--variant: {twice[0]} is there twice; give each a name of its own")
    return variants


def baseline_of(variants: Sequence[Variant], name: str) -> str:
    """The name of the variant that the others are compared with; empty: the first one's."""
    names = [variant.name for variant in variants]
    if name and name not in names:
        raise EvaluationError(f"--baseline: {name} is no variant; they are {', '.join(names)}")
    return name or names[0]


def read_variant(text: str) -> Variant:
    """`name` or `name:key=value,key=value`; keys as in rowcall.toml with dots, quality or route; values as TOML or
    bare.
    """
    name, _, given = text.partition(":")
    if not name.strip():
        raise EvaluationError(f"a variant needs a name: {text!r}; write name:key=value,key=value")
    overrides: dict[str, Any] = {}
    options: dict[str, Any] = {}
    route: str | None = None
    for pair in filter(None, (pair.strip() for pair in _COMMA.split(given))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise EvaluationError(f"variant {name}: {pair!r} is not key=value")
        if key == QUALITY:
            if value not in QUALITIES:
                raise EvaluationError(
                    f"variant {name}: quality must be one of {', '.join(QUALITIES)} (it is {value!r})"
                )
            options[QUALITY] = value
        elif key == ROUTE:
            route = value
        else:
            _put(overrides, key.split("."), _toml(value), f"variant {name}: {key}")
    return Variant(name.strip(), overrides, options, route)


def _item(line: str, where: str, *, is_judged: bool) -> Item:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{where} is no JSON: {error.msg}") from error
    if not isinstance(row, dict):
        raise EvaluationError(f"{where} is no JSON object")
    item = Item(_input(row, where), _texts(row, "answer", where), _texts(row, "source", where))
    if not is_judged and not item.answers and not item.sources:
        raise EvaluationError(f"{where} has neither answers nor sources to judge an answer by; --judge wants none")
    return item


def _input(row: Row, where: str) -> Row:
    if "input" in row:
        if not isinstance(row["input"], dict) or not row["input"]:
            raise EvaluationError(f"{where}: input must be an object that is not empty (it is {row['input']!r})")
        return row["input"]
    if "question" not in row:
        raise EvaluationError(f"{where} has neither a question nor an input")
    if not isinstance(row["question"], str) or not row["question"].strip():
        raise EvaluationError(f"{where}: question must be a text that is not empty (it is {row['question']!r})")
    return {"question": row["question"]}


def _texts(row: Row, name: str, where: str) -> tuple[str, ...]:
    given = row.get(f"{name}s", [row[name]] if name in row else [])
    if not isinstance(given, list) or not all(isinstance(text, str) and text for text in given):
        raise EvaluationError(f"{where}: {name}s must be a list of texts, {name} a text")
    return tuple(given)


def _put(tree: dict[str, Any], path: Sequence[str], value: Any, where: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise EvaluationError(f"{where} names a value inside a value")
    tree[path[-1]] = value


def _toml(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value  # a bare word
