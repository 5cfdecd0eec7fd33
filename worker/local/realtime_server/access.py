"""Asks Postgres, under its policies and privileges, who may see and send what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
import structlog

from worker.local.realtime_server.catalogue import Table
from worker.local.realtime_server.database import Database
from worker.local.realtime_server.protocol import to_json
from worker.local.realtime_server.tokens import Claims

log = structlog.get_logger()

SERVICE_ROLE = "service_role"  # no policy applies to it, and it may read and write realtime.messages

Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """What one reader may see of some rows of a table."""

    columns: frozenset[str]
    visible: frozenset[Key]
    failed: frozenset[Key]  # a policy raised, so nobody knows
    row_security: bool


class Access:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def await_commits(self, xids: Sequence[int]) -> None:
        """Until everybody who looks from now on sees what these transactions wrote."""
        await self._database.rows("select realtime.await_commits(%s)", (list(xids),))

    async def reach(
        self, table: Table, xids: Sequence[int], keys: Sequence[Key], readers: Sequence[Claims]
    ) -> Mapping[Claims, Reach]:
        """One round trip for any number of rows and readers, after `await_commits`. Empty: the table is gone."""
        rows = await self._database.rows(
            "select columns, visible, failed, row_security"
            " from realtime.reach(%s, %s::bigint::oid::regclass, %s::text[], %s::jsonb, %s::jsonb[])",
            (
                list(xids),
                table.relation.oid,
                list(table.primary_key),
                to_json(keys),
                [claims.json for claims in readers],
            ),
        )
        if not rows:
            return {}
        return {
            claims: Reach(
                frozenset(columns),
                frozenset(keys[position] for position in visible),
                frozenset(keys[position] for position in failed),
                bool(row_security),
            )
            for claims, (columns, visible, failed, row_security) in zip(readers, rows, strict=True)
        }

    async def may(self, action: Literal["read", "send"], topic: str, claims: Claims) -> bool:
        """On a private topic, by the policies of realtime.messages. A policy that raises allows nothing."""
        if claims.role == SERVICE_ROLE:
            return True
        try:
            rows = await self._database.rows(
                "select realtime.authorize(%s, %s, %s::jsonb)", (action, topic, claims.json)
            )
        except psycopg.Error as error:
            log.warning("policy.failed", table="realtime.messages", action=action, sqlstate=error.sqlstate)
            return False
        return bool(rows[0][0])
