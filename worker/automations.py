"""Automations from the command line: the trigger's SQL (pure), and what a project has of them."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from worker.operating import Operator

PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*[^{}\s])\s*\}\}")  # as rowcall.render_template reads it


@dataclass(frozen=True, slots=True)
class Automation:
    """A trigger that fills a column. `on`: the columns whose change asks again; none: those that the template names."""

    schema: str
    table: str
    name: str
    column: str
    template: str
    kind: str = "complete"
    on: Sequence[str] = ()
    when: str | None = None  # SQL, about new and old
    settings: Sequence[str] = ()  # owner=…, lane=…

    @property
    def watched(self) -> Sequence[str]:
        named = dict.fromkeys(PLACEHOLDER.findall(self.template))
        return tuple(self.on) or tuple(name for name in named if name != self.column)

    @property
    def statement(self) -> str:
        """`create or replace trigger …`: a database where it was tried by hand takes the migration too."""
        place = f"{identifier(self.schema)}.{identifier(self.table)}"
        watched = ", ".join(identifier(name) for name in self.watched)
        update = f" or update of {watched}" if watched else ""
        arguments = (self.kind, self.template, self.column, *self.settings)
        lines = (
            f"create or replace trigger {identifier(self.name)} after insert{update} on {place}",
            f"  for each row{f' when ({self.when})' if self.when else ''}",
            f"  execute function rowcall.generate({', '.join(literal(argument) for argument in arguments)});",
        )
        return "\n".join(lines) + "\n"

    def file_name(self, now: datetime) -> str:
        """A migration's, by the version that the Supabase CLI would give it."""
        words = re.sub(r"\W+", "_", f"{self.table}_{self.name}".lower()).strip("_")
        return f"{now:%Y%m%d%H%M%S}_automation_{words}.sql"


def identifier(name: str) -> str:
    """Quoted where it has to be."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name)
    return name if plain and name not in RESERVED else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# Reserved in PostgreSQL 18, appendix C; what is quoted without need does no harm.
RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
    current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc
    distinct do else end except false fetch for foreign from grant group having in initially intersect into lateral
    leading limit localtime localtimestamp not null offset on only or order placing primary references returning select
    session_user some symmetric system_user table then to trailing true union unique user using variadic when where
    window with""".split()  # noqa: SIM905 - 77 literals would fill a page
)


async def show_automations(operator: Operator, *, as_json: bool) -> bool:
    """False: one of them is declared wrongly, and fails the writes that it is for."""
    async with operator.connected() as operations:
        found = await operations.automations()
    if as_json:
        print_json(found)
    else:
        console = Console()
        console.print(f"[dim]{escape(operator.project)}[/dim]", soft_wrap=True)
        for one in found:
            console.print(_described(one), highlight=False)
        if not found:
            console.print("no automation: `rowcall automation add` writes one")
    return not any(one["problem"] for one in found)


def _described(one: Mapping[str, Any]) -> RenderableType:
    place = (
        f"[bold]{escape(one['table_name'])}.{escape(str(one['column_name']))}[/bold] by {escape(one['trigger_name'])}"
    )
    state = "" if one["is_enabled"] else "  [yellow]disabled[/yellow]"
    problem = [f"[red]{escape(one['problem'])}[/red]"] if one["problem"] else []
    return Group(f"{place}{state}", Padding(Group(escape(one["definition"]), *problem), (0, 0, 0, 2), expand=False))


async def try_automation(operator: Operator, schema: str, table: str, name: str, rows: int, *, as_json: bool) -> bool:
    """What would be asked for some rows. False: it cannot be asked; nothing is asked either way."""
    async with operator.connected() as operations:
        found = await operations.try_automation(schema, table, name, rows)
    if as_json:
        print_json(found)
    else:
        tried = Table.grid(padding=(0, 2, 0, 0))
        for row in found:
            key = ", ".join(f"{column} {value}" for column, value in (row["key"] or {}).items())
            problem = f"[red]{escape(row['problem'])}[/red]" if row["problem"] else escape(row["asked"])
            tried.add_row(f"[dim]{escape(key)}[/dim]", problem)
        Console().print(tried if found else f"{escape(table)} has no row to try it on", highlight=False)
    return not any(row["problem"] for row in found)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")
