"""What may stand in rowcall.toml and in the environment, in words: for messages and for docs/configuration.md.

`python -m worker.reference` prints that page.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from worker.configuration import Configuration, Environment

PATTERNS = {
    r"^https?://": "a URL that begins with http:// or https://",
    r"^http://": "a URL that begins with http://",
    r"^rediss?://": "a URL that begins with redis:// or rediss://",
    r"^[A-Z][A-Z0-9_]*$": "a name of capitals, digits and underscores",
}
SECRETS = re.compile("KEY|SECRET|PASSWORD|REDIS_URL")
HEAD = """\
# Configuration

Everything that can be set; made from the code by `make docs`. What is wrong is said at start, with its place and what
is allowed: `rowcall.toml: worker.concurrency must be a whole number from 1 to 1000 (it is 0)`.

Rowcall reads `rowcall.toml` in the current folder, on the embedded stack the clone's, or the file that
`ROWCALL_CONFIG` names. Variables come from the environment, and from `.env` in the current folder where the environment
has none of that name. Secrets stand there alone, or in files: `SUPABASE_SECRET_KEY_FILE=/run/secrets/key` takes the key
from that file. Limits that the database enforces are rows of a table ([limits](limits.md)).
"""
KEYS = """
Each provider's key stands in the variable that its `api_key_env` names, `OPENAI_API_KEY` as shipped; a provider that no
route and no embedding uses needs none. `OPENAI_BASE_URL` replaces the `base_url` of the provider named `openai`.

`rowcall ask` and `rowcall ingest` act for a user: `SUPABASE_URL`, `SUPABASE_PUBLISHABLE_KEY`, `ROWCALL_EMAIL` and
`ROWCALL_PASSWORD`. Commands for operators want `SUPABASE_URL` and `SUPABASE_SECRET_KEY`. Where the process's own
environment names no project and an embedded stack runs here, every command speaks to that one, before `.env`'s.
"""


def allowed(field: FieldInfo) -> str:
    """The values of a field: `a whole number from 1 to 1000`."""
    return _allowed(field.annotation, tuple(field.metadata))


def _allowed(kind: Any, bounds: tuple[Any, ...]) -> str:
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        more = [m for extra in more for m in (extra.metadata if isinstance(extra, FieldInfo) else (extra,))]
        return _allowed(inner, (*more, *bounds))
    if get_origin(kind) in {Union, UnionType}:
        (inner,) = (member for member in get_args(kind) if member is not NoneType)
        return _allowed(inner, bounds)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return f"a list, each {_allowed(inner, ())}" if get_origin(inner) is Literal else "a list of texts"
    if kind in {int, float}:
        return f"a {'whole ' if kind is int else ''}number{_range(bounds)}"
    if kind is bool:
        return "true or false"
    patterns = [PATTERNS[b.pattern] for b in bounds if getattr(b, "pattern", None)]
    return patterns[0] if patterns else "a text"


def _range(bounds: tuple[Any, ...]) -> str:
    least = next((b.ge for b in bounds if isinstance(b, Ge)), None)
    most = next((b.le for b in bounds if isinstance(b, Le)), None)
    above = next((b.gt for b in bounds if isinstance(b, Gt)), None)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return "" if above is None else f" above {above}"


def explained(model: type[BaseModel], problem: ErrorDetails) -> str:
    """One of pydantic's errors as `worker.concurrency must be a whole number from 1 to 1000 (it is 0)`."""
    place = [part for part in problem["loc"] if isinstance(part, str)]  # of a list's member: the list
    name = ".".join(place)
    match problem["type"]:
        case "value_error":
            return str(problem["msg"]).removeprefix("Value error, ")
        case "extra_forbidden":
            known = list(_section(model, place[:-1]).model_fields)
            near = difflib.get_close_matches(place[-1], known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            return f"{name} is not known{meant} (allowed: {', '.join(known)})"
    field = _field(model, place)
    wanted = "a table" if field is None else allowed(field)
    if problem["type"] == "missing":
        return f"{name} is missing; it must be {wanted}"
    given = problem["input"]
    shown = "" if SECRETS.search(name) or isinstance(given, Mapping | list) else f" (it is {given!r})"
    return f"{name} must be {wanted}{shown}"


def _section(model: type[BaseModel], place: Sequence[str]) -> type[BaseModel]:
    """The class of the table at that place; in a table of tables, the one of its members."""
    if not place:
        return model
    annotation: Any = model.model_fields[place[0]].annotation
    if get_origin(annotation) is Mapping:
        return _section(get_args(annotation)[1], place[2:])
    return _section(annotation, place[1:])


def _field(model: type[BaseModel], place: Sequence[str]) -> FieldInfo | None:
    """None: a table, not a value."""
    if len(place) == 2 and get_origin(model.model_fields[place[0]].annotation) is Mapping:
        return None
    field = _section(model, place[:-1]).model_fields[place[-1]]
    is_value = get_origin(field.annotation) is not Mapping and not _is_table(field.annotation)
    return field if is_value else None


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def page() -> str:
    """docs/configuration.md."""
    return "\n".join([HEAD, "## rowcall.toml", "", *_tables(), "## Environment", "", *_environment(), KEYS])


def _tables() -> Iterator[str]:
    for name, field in Configuration.model_fields.items():
        annotation: Any = field.annotation
        is_many = get_origin(annotation) is Mapping
        section: type[BaseModel] = get_args(annotation)[1] if is_many else annotation
        title = f"[{name}.<name>]" if is_many else f"[{name}]"
        if name in {"prices", "limits"}:
            title = f'[{name}."<provider>/<model>"]'
        if name == "tables":
            title = f'[{name}."<schema>.<table>"]'
        yield from (f"### `{title}`", "", cleandoc(section.__doc__ or ""), "")
        yield from (*_rows(section, "key"), "")


def _environment() -> Iterator[str]:
    yield from (cleandoc(Environment.__doc__ or ""), "", *_rows(Environment, "variable"))


def _rows(section: type[BaseModel], what: str) -> Iterator[str]:
    yield from (f"| {what} | allowed | default | meaning |", "|---|---|---|---|")
    for name, field in section.model_fields.items():
        yield f"| `{name}` | {allowed(field)} | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), "") or (isinstance(value, SecretStr) and not value.get_secret_value()):
        return "-"
    if isinstance(value, bool | tuple):  # as rowcall.toml writes them
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
