"""The project's own tables, by `rowcall.ask_for_row_v1`."""

from collections.abc import Sequence
from typing import Any

from worker.adapters.database import Database
from worker.row_hints import Key


class SupabaseTables:
    """`worker.ports.Tables`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, table: str, key: Key, automation: Sequence[str]) -> str | None:
        schema, _, name = table.partition(".")
        arguments = {"schema_name": schema, "table_name": name, "keys": [dict(key)], "arguments": list(automation)}
        answer: Any = await self._database.call("ask_for_row_v1", arguments)
        return None if answer is None else str(answer)
