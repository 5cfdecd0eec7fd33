import re
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.realtime_server.catalogue import Catalogue
from worker.local.realtime_server.database import Database
from worker.local.realtime_server.filters import (
    Filter,
    InvalidFilter,
    Operator,
    condition,
    like_pattern,
    parse_filters,
    posix_pattern,
)
from worker.local.realtime_server.subscribing import Binding, InvalidSubscription
from worker.local.realtime_server.tokens import claims_from
from worker.local.realtime_server.values import ColumnType, Shape
from worker.local.stack import Stack

# Parsing

names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
operands = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
single = st.sampled_from([operator for operator in Operator if operator is not Operator.IN])
filters = st.builds(Filter, names, single, operands, st.booleans())


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(wanted: Filter) -> str:
    """As supabase-js' filter builder writes it."""
    prefix = "not." if wanted.negated else ""
    return f"{wanted.column}={prefix}{wanted.operator.value}.{quoted(wanted.operand)}"


@given(st.lists(filters, min_size=1, max_size=4))
def test_filters_are_read_as_they_were_written(wanted: list[Filter]) -> None:
    assert parse_filters(",".join(map(written, wanted))) == tuple(wanted)


@given(names, st.lists(operands, max_size=4))
def test_a_list_keeps_its_quotes_for_postgres(column: str, items: list[str]) -> None:
    listed = ",".join(map(quoted, items))
    [found] = parse_filters(f"{column}=in.({listed})")
    assert found == Filter(column, Operator.IN, f"{{{listed}}}", negated=False)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_filters(text)
    except InvalidFilter:
        return


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  ", []),
        ("id=eq.1", [("id", "eq", "1", False)]),
        (" id = eq.1 ", None),
        ("at=gt.2026-01-01T00:00:00.5+00", [("at", "gt", "2026-01-01T00:00:00.5+00", False)]),
        ("a=eq.x=y.z", [("a", "eq", "x=y.z", False)]),
        ('name=eq."a,b",id=not.in.(1,(2,3))', [("name", "eq", "a,b", False), ("id", "in", "{1,(2,3)}", True)]),
        ('name=eq.say "hi",id=eq.1', [("name", "eq", 'say "hi"', False), ("id", "eq", "1", False)]),
        ("name=eq.", [("name", "eq", "", False)]),
        ("a=eq.1,,b=eq.2", None),
        ("a=eq.1,", None),
        ("id=in.1,2", None),
        ("undefined", None),
        ("id=eq", None),
        ("id=not.eq", None),
        ("id=cs.{1}", None),
    ],
)
def test_filters_like_those_of_the_real_server(text: str, found: list[tuple[str, str, str, bool]] | None) -> None:
    if found is None:
        with pytest.raises(InvalidFilter):
            parse_filters(text)
    else:
        read = [(f.column, f.operator.value, f.operand, f.negated) for f in parse_filters(text)]
        assert read == found


# Meaning: that of Postgres, for every type and operator that is served

VALUES = {
    "boolean": ("true", "false"),
    "smallint": ("-5", "0", "10", "9"),
    "bigint": ("9007199254740993", "9007199254740992", "-1"),
    "numeric": ("1.0", "1.00", "-0.5", "NaN", "Infinity", "1e3"),
    "real": ("0.1", "1e10", "NaN", "-Infinity"),
    "double precision": ("0.1", "-0", "0", "1e300"),
    "text": ("", "a", "A", "ab", "a_b", "100%", "ü", "Ü", "Z", "null", "a,b", 'q"q', "back\\slash", "two\nlines"),
    "varchar(9)": ("a", "B", "a%"),
    "char(3)": ("a", "a  ", "abc", "b"),
    "name": ("a", "b"),
    "date": ("2026-02-03", "0044-03-15 BC", "0045-03-15 BC", "infinity", "-infinity", "12026-01-01"),
    "timestamp": ("2026-02-03", "2026-02-03 04:05:06.5", "2026-02-03T04:05:06", "0044-03-15 BC"),
    "timestamptz": ("2026-02-03 01:00+01", "2026-02-03 00:00+00", "2026-02-02 23:59:59.999-01", "infinity"),
    "uuid": ("F47AC10B-58CC-4372-A567-0E02B2C3D479", "f47ac10b-58cc-4372-a567-0e02b2c3d470"),
    "bytea": ("\\x00", "\\x00ff", "\\x"),
    "rt_size": ("small", "large"),
    "rt_amount": ("1", "10"),
}
PATTERNS = ("%", "a%", "_", "%A%", "a\\_b", "100\\%", "^a", "b$", "[ab]", "\\mü", "a.*s", "(A|Z)", "a\\Mx?")
NOT_SERVED = ("interval", "inet", "jsonb", "integer[]", "tsvector")

SETUP = f"""
create type public.rt_size as enum ('small', 'large');
create domain public.rt_amount as integer;
create table public.rt_filtered (id integer primary key, {", ".join(f'"{t}" {t}' for t in (*VALUES, *NOT_SERVED))});
"""
SYMBOLS = {
    Operator.EQ: "=",
    Operator.NEQ: "<>",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LIKE: "like",
    Operator.ILIKE: "ilike",
    Operator.MATCH: "~",
    Operator.IMATCH: "~*",
    Operator.ISDISTINCT: "is distinct from",
}
PATTERNED = {Operator.LIKE, Operator.ILIKE, Operator.MATCH, Operator.IMATCH}
SERVICE = claims_from({"role": "service_role"}, "service_role", None)


@pytest.fixture(scope="session")
def table_oid(stack: Stack) -> int:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(SETUP.encode())
        connection.execute("grant select on public.rt_filtered to service_role")
        row = connection.execute("select 'public.rt_filtered'::regclass::oid::bigint").fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
async def catalogue(stack: Stack) -> AsyncIterator[Catalogue]:
    database = Database(stack.admin_db_url)
    yield Catalogue(database)
    await database.close()


def as_postgres_says(
    database: psycopg.Connection, type_: str, wanted: Filter, values: tuple[str | None, ...]
) -> list[bool | None]:
    """For each value; the type without its length, which a cast would cut to."""
    plain = {"varchar(9)": "varchar", "char(3)": "bpchar"}.get(type_, type_)
    match wanted.operator:
        case Operator.IN:
            test = f"v = any(%(operand)s::{plain}[])"
        case Operator.IS:
            test = f"v is {wanted.operand}"
        case operator:
            test = f"v {SYMBOLS[operator]} %(operand)s::{plain}"
    negation = "not" if wanted.negated else ""
    query = f"select array(select {negation} ({test}) from (select t::{type_} v from unnest(%(values)s::text[]) t) x)"
    row = database.execute(query.encode(), {"operand": wanted.operand, "values": list(values)}).fetchone()
    assert row is not None
    return list(row[0])


def as_streamed(database: psycopg.Connection, type_: str, values: tuple[str | None, ...]) -> list[str | None]:
    query = f"select case when t is not null then format('%%s', t::{type_}) end from unnest(%s::text[]) t"
    return [row[0] for row in database.execute(query.encode(), (list(values),))]


def wanted_filters(type_: str, *, negated: bool) -> list[Filter]:
    found = [Filter(type_, Operator.IS, "null", negated)]
    for operator in SYMBOLS:
        operands_ = VALUES[type_] + (PATTERNS if operator in PATTERNED else ())
        found += [Filter(type_, operator, operand, negated) for operand in operands_]
    lists = (VALUES[type_][:1], VALUES[type_][1:], ())
    found += [Filter(type_, Operator.IN, f"{{{','.join(map(quoted, items))}}}", negated) for items in lists]
    found.append(Filter(type_, Operator.IN, f"{{{quoted(VALUES[type_][0])},NULL}}", negated))
    if type_ == "boolean":
        found += [Filter(type_, Operator.IS, keyword, negated) for keyword in ("true", "false", "unknown")]
    return found


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("type_", VALUES)
async def test_a_filter_means_what_postgres_means(
    catalogue: Catalogue, database: psycopg.Connection, table_oid: int, type_: str, *, negated: bool
) -> None:
    values = (*VALUES[type_], None)
    texts = as_streamed(database, type_, values)
    served = 0
    for wanted in wanted_filters(type_, negated=negated):
        binding = Binding("*", "public", "rt_filtered", (wanted,), None)
        try:
            [found] = await catalogue.conditions(binding, table_oid, SERVICE)
        except InvalidSubscription as refusal:
            if "not served by this server" in str(refusal):
                continue
            with pytest.raises(psycopg.Error):
                as_postgres_says(database, type_, wanted, values)
            continue
        served += 1
        expected = as_postgres_says(database, type_, wanted, values)
        assert [found.test(text) for text in texts] == expected, wanted
    assert served > len(VALUES[type_]) * 3


@pytest.mark.parametrize("type_", NOT_SERVED)
async def test_a_type_that_is_not_served_is_refused_except_for_null(
    catalogue: Catalogue, table_oid: int, type_: str
) -> None:
    operand = {"integer[]": "{1}", "jsonb": "1", "interval": "1 day", "inet": "10.0.0.1"}.get(type_, "a")
    wanted = Filter(type_, Operator.EQ, operand, negated=False)
    with pytest.raises(InvalidSubscription, match="is not served by this server"):
        await catalogue.conditions(Binding("*", "public", "rt_filtered", (wanted,), None), table_oid, SERVICE)
    is_null = Filter(type_, Operator.IS, "null", negated=False)
    [found] = await catalogue.conditions(Binding("*", "public", "rt_filtered", (is_null,), None), table_oid, SERVICE)
    assert (found.holds({type_: None}), found.holds({type_: operand})) == (True, False)


def test_a_column_that_was_not_sent_fits_no_filter() -> None:
    for negated in (False, True):
        wanted = Filter("long", Operator.EQ, "x", negated)
        assert not condition(wanted, ColumnType("text", Shape.TEXT), ("x",)).holds({"id": "1"})


@pytest.mark.parametrize("pattern", ["[[:alpha:]]", "[[.a.]]", "***=a", "(?<n>a)", "a{2,1}"])
def test_a_regular_expression_that_python_reads_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidFilter, match="not served by this server"):
        posix_pattern(pattern, re.NOFLAG)


@given(st.text(max_size=10))
def test_a_like_pattern_of_escaped_text_fits_that_text_alone(text: str) -> None:
    escaped = "".join(f"\\{char}" for char in text)
    assert re.fullmatch(like_pattern(escaped), text, re.DOTALL)
    assert not re.fullmatch(like_pattern(escaped), text + "x", re.DOTALL)
