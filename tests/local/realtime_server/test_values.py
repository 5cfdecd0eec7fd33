import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.realtime_server.catalogue import Catalogue
from worker.local.realtime_server.database import Database
from worker.local.realtime_server.values import ColumnType, Shape, json_text, parse_array
from worker.local.stack import Stack

TYPES = """
create type public.rt_mood as enum ('sad', 'so so', 'happy');
create domain public.rt_count as integer check (value >= 0);
create domain public.rt_counts as public.rt_count[];
"""

EXPRESSIONS = r"""
true | false | null::boolean | 'x'::"char" | 'name'::name | 9007199254740993 | (-1)::int2 | 0 | 5::oid
1.50 | 1e30::numeric | 'NaN'::numeric | 'Infinity'::numeric | 0.1::float4 | 1e300::float8 | '-Infinity'::float8
'NaN'::float4 | 12345678901234567890.123456789 | 'plain' | 'qu"ote \ back' | e'line\nbreak\ttab' | 'ü 😀' | ''
'abc'::varchar(5) | 'ab'::char(5) | 'ab'::bpchar | date '2026-02-03' | date 'infinity' | date '0044-03-15 BC'
timestamp '2026-02-03 04:05:06.789' | timestamp '-infinity' | timestamp '0044-03-15 12:00 BC'
timestamptz '2026-02-03 04:05:06.123456+05:30' | timestamptz 'infinity' | timestamptz '0044-03-15 12:00+00 BC'
time '04:05:06' | timetz '04:05:06+02' | interval '1 day 2 hours' | 'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid
'{"b": [1, 2.50, null], "a": {"ü": "\ud83d\ude00"}}'::jsonb | '  {"b" :1,"a":  2, "a": 3}'::json | 'null'::jsonb
'"text"'::jsonb | 'happy'::rt_mood | 7::rt_count | '{1,2}'::rt_counts | inet '10.0.0.1/8' | money '12.50'
'[1,2.5]'::vector | int4range(1, 5) | point(1, 2) | b'101' | '<a/>'::text
'{}'::int[] | '{1,NULL,3}'::int[] | '{{1,2},{3,4}}'::int[] | '[0:1]={5,6}'::int[]
array['a', 'b,c', '', 'NULL', null, 'qu"ote', 'back\slash', '{brace}', ' padded ', 'ü']
array[true, false, null] | array[1.50, 'NaN'::numeric] | array['{"a": 1}'::jsonb, null]
array['sad', 'so so']::rt_mood[]
array[timestamptz '2026-02-03 04:05:06+00', null] | array['f47ac10b-58cc-4372-a567-0e02b2c3d479']::uuid[]
array[date '2026-02-03'] | array[['a', 'b'], ['c', null]]
"""


@pytest.fixture
async def catalogue(stack: Stack) -> AsyncIterator[Catalogue]:
    database = Database(stack.admin_db_url)
    yield Catalogue(database)
    await database.close()


@pytest.fixture(scope="session")
def types(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(TYPES)


@pytest.mark.usefixtures("types")
async def test_a_value_becomes_what_to_jsonb_makes_of_it(catalogue: Catalogue, database: psycopg.Connection) -> None:
    for expression in EXPRESSIONS.replace("\n", " | ").split(" | "):
        if not expression.strip():
            continue
        columns = "pg_typeof(v)::oid::bigint, format('%s', v), v is null, to_jsonb(v)::text"
        row = database.execute(f"select {columns} from (select {expression} v) x".encode()).fetchone()
        assert row is not None
        oid, text, is_null, expected = row
        column_type = (await catalogue._types_of([oid]))[oid]
        assert read(json_text(column_type, None if is_null else text)) == read(expected or "null"), expression


def read(text: str) -> Any:
    return json.loads(text, parse_int=float)


def test_bytes_are_hexadecimal_without_a_prefix() -> None:
    assert json_text(ColumnType("bytea", Shape.BYTEA), r"\x00ff") == '"00ff"'


items = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=8,
)


def array_literal(value: Any) -> str:
    """As Postgres writes it, except that it quotes only where it must."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"{{{','.join(map(array_literal, value))}}}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.lists(items, max_size=4))
def test_an_array_literal_is_read_as_it_was_written(value: list[Any]) -> None:
    assert parse_array(array_literal(value)) == value


@given(st.text('{}",\\ abN', max_size=12))
def test_any_array_literal_is_read_or_refused(literal: str) -> None:
    try:
        parse_array(literal)
    except ValueError:
        return


@pytest.mark.parametrize("literal", ["", "1,2", "{1", "{1,}", "{,1}", "{1}}", '{"a}', "{1}2", '{a"b"}'])
def test_what_is_no_array_literal_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match="array literal"):
        parse_array(literal)
