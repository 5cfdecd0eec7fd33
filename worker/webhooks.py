"""What a database webhook may look like: who may send it, and the hints that it carries. Pure: time is an argument."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from worker.ports import Hint
from worker.row_hints import RowReference, UnfitKey, key_of

SIGNATURE = re.compile(r"t=(?P<stamp>[0-9]{1,12}),v1=(?P<hex>[0-9a-f]{64})")
TOLERANCE_S = 300  # between the sender's clock and ours, either way
LARGEST_INTEGER = 2**31 - 1  # Postgres' integer
SHOWN = 80  # characters of a wrong value
TAGS = {"INSERT", "UPDATE", "DELETE"}  # pydantic puts the chosen one at the head of a field's place

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Malformed(Exception):
    """The body is not a webhook's; the message names the field and its value."""


class _Body(BaseModel):
    """Fields that we do not know may come with a later version of the trigger, or are columns that we do not need."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Row(_Body):
    id: UUID
    attempt: int = Field(ge=0, le=LARGEST_INTEGER)
    kind: Name
    lane: Name
    tenant: str | None = Field(max_length=1000)

    def hint(self) -> Hint:
        return Hint(str(self.id), self.attempt, self.kind, self.lane, self.tenant)


class _Rows(_Body):
    """The body of our own trigger (rowcall.send_webhook)."""

    type: Literal["INSERT", "REPLAY", "CANCEL"]
    schema_name: Literal["rowcall"] = Field(alias="schema")
    table: Literal["generations"]
    rows: list[_Row] = Field(max_length=500)


class _Record(_Row):
    status: Name
    run_at: AwareDatetime


class _Inserted(_Body):
    """The body of a Database Webhook as Supabase's dashboard makes it."""

    type: Literal["INSERT"]
    schema_name: Literal["rowcall"] = Field(alias="schema")
    table: Literal["generations"]
    record: _Record


class _Changed(_Body):
    """The same for a change that makes no work."""

    type: Literal["UPDATE", "DELETE"]
    schema_name: Literal["rowcall"] = Field(alias="schema")
    table: Literal["generations"]


class _Place(_Body):
    """Which table it is about."""

    schema_name: str = Field(alias="schema")
    table: str

    @property
    def name(self) -> str:
        return f"{self.schema_name}.{self.table}"


class _TableChange(_Body):
    """The body for one of the project's own tables. Its values are looked at here, and go no further."""

    type: Literal["INSERT", "UPDATE", "DELETE"]
    record: dict[str, Any] | None
    old_record: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What intake has to know of a table that rowcall.toml names."""

    column: str  # which is filled
    lane: str
    key: tuple[str, ...]


NONE: Mapping[str, Watched] = {}

_Change = Annotated[_Inserted | _Changed, Field(discriminator="type")]
_CHANGE: TypeAdapter[_Inserted | _Changed] = TypeAdapter(_Change)


@dataclass(frozen=True, slots=True)
class Found:
    """What a webhook says is to be run, and in how many seconds; or, of attempts that run, that they were canceled."""

    hints: tuple[Hint, ...] = ()
    wait_s: float = 0.0
    canceled: tuple[Hint, ...] = ()


def is_signed(header: str, body: bytes, secrets: Sequence[str], *, now_s: float) -> bool:
    """Whether `t=<unix time>,v1=<hex HMAC-SHA256 of "t.body">` was made with one of the secrets, and lately."""
    parts = SIGNATURE.fullmatch(header)
    if parts is None or abs(now_s - int(parts["stamp"])) > TOLERANCE_S:
        return False
    signed = parts["stamp"].encode() + b"." + body
    made = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return any(hmac.compare_digest(signature, parts["hex"]) for signature in made)


def is_secret(given: bytes, secrets: Sequence[str]) -> bool:
    return any(hmac.compare_digest(secret.encode(), given) for secret in secrets)


def read_rows(body: bytes) -> Found:
    """The hints of our own trigger's body. Raises Malformed."""
    try:
        found = _Rows.model_validate_json(body)
    except ValidationError as error:
        raise Malformed(described(error)) from error
    hints = tuple(row.hint() for row in found.rows)
    return Found(canceled=hints) if found.type == "CANCEL" else Found(hints)


def read_change(body: bytes, *, now: datetime, tables: Mapping[str, Watched] = NONE) -> Found:
    """The hint of a Database Webhook's body, if its row is to be run, or to be asked about. Raises Malformed."""
    try:
        if tables and (place := _Place.model_validate_json(body).name) in tables:
            return _row_of(place, _TableChange.model_validate_json(body), tables[place], now)
        change = _CHANGE.validate_json(body)
    except ValidationError as error:
        raise Malformed(described(error)) from error
    match change:
        case _Inserted(record=record) if record.status == "queued":
            return Found((record.hint(),), max(0.0, (record.run_at - now).total_seconds()))
        case _:
            return Found()


def _row_of(place: str, change: _TableChange, watched: Watched, now: datetime) -> Found:
    """A deleted row asks nothing, and neither does one of which only the filled column has changed: that was us."""
    if change.record is None:
        return Found()
    if change.old_record is not None and _without(change.record, watched) == _without(change.old_record, watched):
        return Found()
    try:
        row = RowReference(place, key_of(change.record, watched.key))
    except UnfitKey as problem:
        raise Malformed(str(problem)) from problem
    return Found((row.hint(lane=watched.lane, stamp=int(now.timestamp() * 1000) % (LARGEST_INTEGER + 1)),))


def _without(record: Mapping[str, Any], watched: Watched) -> Mapping[str, Any]:
    return {name: value for name, value in record.items() if name != watched.column}


def described(error: ValidationError) -> str:
    """The first things that are wrong, each with its field and value; a value that holds others is not shown."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False)[:3]:
        place = ".".join(str(part) for part in problem["loc"] if part not in TAGS)
        given = problem["input"]
        shown = "" if isinstance(given, dict | list | bytes) else f" (it is {given!r:.{SHOWN}})"
        problems.append(f"{place or 'body'}: {problem['msg']}{shown}")
    return "; ".join(problems)
