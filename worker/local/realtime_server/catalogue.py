"""What the database says about tables: their types and keys, and whether a subscription to them makes sense."""

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from worker.local.realtime_server.database import Database
from worker.local.realtime_server.filters import Condition, InvalidFilter, condition
from worker.local.realtime_server.pgoutput import Relation
from worker.local.realtime_server.protocol import to_json
from worker.local.realtime_server.subscribing import Binding, refused, unknown_table
from worker.local.realtime_server.tokens import Claims
from worker.local.realtime_server.values import SHAPES, ColumnType, Shape

TYPES = """
with recursive resolved (oid, name, base) as (
  select oid, typname, oid from pg_type where oid = any(%s)
  union all
  select r.oid, r.name, d.typbasetype from resolved r join pg_type d on d.oid = r.base where d.typtype = 'd')
select r.oid::bigint, r.name, b.oid::bigint, b.typtype = 'e',
       case when b.typsubscript = 'array_subscript_handler'::regproc then b.typelem::bigint end
  from resolved r join pg_type b on b.oid = r.base where b.typtype <> 'd'
"""
PRIMARY_KEY = """
select a.attname
  from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
 where i.indisprimary and i.indrelid = %s::bigint::oid
 order by a.attnum
"""
PUBLISHED = """
select c.oid::bigint
  from pg_publication_tables p
  join pg_namespace n on n.nspname = p.schemaname
  join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
 where p.pubname = 'supabase_realtime'
   and %s::text in ('*', p.schemaname::text)
   and %s::text in ('*', p.tablename::text)
"""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A relation of the WAL with what the WAL does not say."""

    relation: Relation
    types: dict[str, ColumnType]  # of every column, in the table's order
    primary_key: tuple[str, ...]  # empty: there is none


class Catalogue:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._types: dict[int, ColumnType] = {}
        self._tables: dict[int, Table] = {}

    async def table_of(self, relation: Relation) -> Table:
        """Postgres announces a table anew after each change to it, so the answer is kept until then."""
        known = self._tables.get(relation.oid)
        if known is not None and known.relation is relation:
            return known
        types = await self._types_of({column.type_oid for column in relation.columns})
        key = await self._database.rows(PRIMARY_KEY, (relation.oid,))
        table = Table(
            relation,
            {column.name: types[column.type_oid] for column in relation.columns},
            tuple(row[0] for row in key),
        )
        self._tables[relation.oid] = table
        return table

    async def published(self, binding: Binding) -> tuple[int, ...]:
        """The tables that a binding covers. InvalidSubscription when there is none."""
        try:
            rows = await self._database.rows(PUBLISHED, (binding.schema, binding.table))
        except psycopg.Error as error:
            raise refused(binding, said(error)) from error
        if not rows:
            raise unknown_table(binding)
        return tuple(row[0] for row in rows)

    async def conditions(self, binding: Binding, table_oid: int, claims: Claims) -> tuple[Condition, ...]:
        """The binding's filters for this table. InvalidSubscription when one does not fit it, or these claims may not
        read a column that the binding names.
        """
        filters = [
            {"column": wanted.column, "op": wanted.operator.value, "operand": wanted.operand}
            for wanted in binding.filters
        ]
        select = None if binding.select is None else list(binding.select)
        try:
            [(resolved,)] = await self._database.rows(
                "select realtime.resolve_filters(%s::bigint::oid::regclass, %s::jsonb, %s::jsonb, %s)",
                (table_oid, claims.json, to_json(filters), select),
            )
            types = await self._types_of(entry["type"] for entry in resolved)
            return tuple(
                condition(wanted, types[entry["type"]], tuple(entry["operands"]))
                for wanted, entry in zip(binding.filters, resolved, strict=True)
            )
        except (psycopg.Error, InvalidFilter) as error:
            raise refused(binding, said(error)) from error

    async def _types_of(self, oids: Iterable[int]) -> dict[int, ColumnType]:
        wanted = set(oids)
        missing = wanted - self._types.keys()
        if missing:
            rows = await self._database.rows(TYPES, (list(missing),))
            elements = await self._types_of(element for *_, element in rows if element is not None)
            for oid, name, base, is_enum, element in rows:
                shape = Shape.ENUM if is_enum else SHAPES.get(base, Shape.OTHER)
                self._types[oid] = (
                    ColumnType(name, shape) if element is None else ColumnType(name, Shape.ARRAY, elements[element])
                )
        return {oid: self._types[oid] for oid in wanted}


def said(error: Exception) -> str:
    """Without the context that Postgres adds, which names our functions."""
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return message or str(error)
