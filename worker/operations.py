"""The operator's client: what the secret key may see and order. It reads no answer and no document, questions only of
rated answers, to learn from them; of the project's own tables what an automation would ask.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, Self

import httpx
from postgrest import APIError, AsyncPostgrestClient

from jobs.ports import Opening
from worker.client import RequestRefused
from worker.ports import Closing

REQUEST_TIMEOUT_S = 65.0  # usage_v3 may take 60


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a row that was to be replayed: it runs again, the kept answer filled its column, or a problem."""

    id: str
    outcome: Literal["replayed", "filled"] | None
    problem: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls(row["id"], row["outcome"], row["problem"])


class Operations:
    """Made by `connected`. Every method raises `RequestRefused`, with a message for the person who asked."""

    def __init__(self, rowcall: AsyncPostgrestClient) -> None:
        self._rowcall = rowcall

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, secret_key: str) -> AsyncIterator[Self]:
        headers = {"apikey": secret_key, "authorization": f"Bearer {secret_key}"}
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S) as http:
            rest = f"{url.rstrip('/')}/rest/v1"
            yield cls(AsyncPostgrestClient(rest, schema="rowcall", headers=headers, http_client=http))

    async def status(self, window_s: float) -> Mapping[str, Any]:
        """What is open, who works, and how rows ended in the last `window_s` seconds: see `status_v1`."""
        found: Mapping[str, Any] = await self._call("status_v1", {"window_s": window_s})
        return found

    async def usage(self, since: datetime, until: datetime, by: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """The ledger's sums, a row per combination of `by`: see `usage_v3`."""
        bounds = {"since": since.isoformat(), "until": until.isoformat(), "by": list(by)}
        found: Sequence[Mapping[str, Any]] = await self._call("usage_v3", bounds)
        # @supabase/lite answers a sum of more digits than a double has as text.
        return [{**row, "cost_usd": float(row["cost_usd"]), "saved_usd": float(row["saved_usd"])} for row in found]

    async def dead(self, *, code: str | None, max_rows: int) -> Sequence[Mapping[str, Any]]:
        """Rows that want a person, the latest first: see `dead_generations_v2`."""
        arguments = {"code": code, "max_rows": max_rows}
        found: Sequence[Mapping[str, Any]] = await self._call("dead_generations_v2", arguments)
        return found

    async def replay(self, ids: Sequence[str]) -> Sequence[Replayed]:
        """What became of each."""
        return [Replayed.of(row) for row in await self._call("replay_generations_v2", {"ids": list(ids)})]

    async def replay_dead(self, code: str, before: datetime, max_rows: int) -> AsyncIterator[Replayed]:
        """What became of each row with that code which ended before then, the oldest first, `max_rows` a call."""
        arguments: dict[str, Any] = {"code": code, "before": before.isoformat(), "max_rows": max_rows}
        while page := await self._call("replay_dead_generations_v2", arguments):
            for row in page:
                yield Replayed.of(row)
            arguments |= {"after_at": page[-1]["finished_at"], "after_id": page[-1]["id"]}

    async def cancel(self, ids: Sequence[str]) -> Sequence[str]:
        """Those that were canceled: they had not ended."""
        return await self._ids("cancel_generations_v1", {"ids": list(ids)})

    async def prune(self, max_rows: int) -> Mapping[str, int]:
        """Rows deleted, by table: what is older than `rowcall.retention` keeps, at most `max_rows` of each table."""
        return {row["table_name"]: row["deleted"] for row in await self._call("prune_v1", {"max_rows": max_rows})}

    async def documents_to_reembed(self, embedding_model: str, *, with_units: bool) -> int:
        """Those with a chunk of another model than this one, or of none; or, where its sentences are wanted as well,
        with one without theirs.
        """
        wanted = {"embedding_model": embedding_model, "with_units": with_units}
        return int(await self._call("documents_to_reembed_v2", wanted))

    async def reembed(
        self, embedding_model: str, after: str, max_rows: int, *, with_units: bool
    ) -> Sequence[Mapping[str, Any]]:
        """A page of them in the order of their ids, after that one, each with a new ingest or the one that runs."""
        page = {"embedding_model": embedding_model, "with_units": with_units, "after": after, "max_rows": max_rows}
        found: Sequence[Mapping[str, Any]] = await self._call("reembed_documents_v2", page)
        return found

    async def promote(self, since: datetime, max_rows: int) -> AsyncIterator[Mapping[str, Any]]:
        """What became of each answer that its owner has rated up since then: see `promote_examples_v1`."""
        arguments: dict[str, Any] = {"since": since.isoformat(), "max_rows": max_rows}
        while page := await self._call("promote_examples_v1", arguments):
            for row in page:
                yield row
            arguments["after"] = page[-1]["generation_id"]

    async def learn(self, embedding_model: str, max_rows: int) -> AsyncIterator[Mapping[str, Any]]:
        """The generation that embeds each example which that model's questions cannot find: see `learn_examples_v1`."""
        arguments: dict[str, Any] = {"embedding_model": embedding_model, "max_rows": max_rows}
        while page := await self._call("learn_examples_v1", arguments):
            for row in page:
                yield row
            arguments["after"] = page[-1]["id"]

    async def examples(self, max_rows: int) -> Sequence[Mapping[str, Any]]:
        """The latest first, without what was asked and answered: see `examples_v1`."""
        found: Sequence[Mapping[str, Any]] = await self._call("examples_v1", {"max_rows": max_rows})
        return found

    async def remove_examples(self, ids: Sequence[int]) -> Sequence[int]:
        """Those that were there."""
        return [int(id) for id in await self._ids("remove_examples_v1", {"ids": list(ids)})]

    async def automations(self) -> Sequence[Mapping[str, Any]]:
        """The triggers that fill columns: see `automations_v2`."""
        found: Sequence[Mapping[str, Any]] = await self._call("automations_v2", {})
        return found

    async def try_automation(self, schema: str, table: str, name: str, max_rows: int) -> Sequence[Mapping[str, Any]]:
        """What one would ask for some rows of its table: see `try_automation_v1`."""
        place = {"schema_name": schema, "table_name": table, "trigger_name": name}
        found: Sequence[Mapping[str, Any]] = await self._call("try_automation_v1", {**place, "max_rows": max_rows})
        return found

    async def rated_answers(self, since: datetime, after: str, max_rows: int) -> Sequence[Mapping[str, Any]]:
        """A page of answers rated since then, in the order of their ids, after that one: see `rated_answers_v1`."""
        page = {"since": since.isoformat(), "after": after, "max_rows": max_rows}
        found: Sequence[Mapping[str, Any]] = await self._call("rated_answers_v1", page)
        return found

    async def open_call(self, kind: str, opening: Opening) -> str:
        """The id in the ledger of a model call that belongs to no row."""
        call = {"kind": kind, "purpose": opening.purpose, **asdict(opening.model)}
        return str(await self._call("open_operator_call_v1", call))

    async def close_call(self, closing: Closing) -> None:
        await self._call("close_calls_v1", {"closings": [asdict(closing) | asdict(closing.model)]})

    async def _ids(self, function: str, arguments: Mapping[str, Any]) -> Sequence[str]:
        # A set of plain values: PostgREST answers them bare, @supabase/lite under the function's name.
        answered = await self._call(function, arguments)
        return [next(iter(row.values())) if isinstance(row, dict) else row for row in answered]

    async def _call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        return await _answered(self._rowcall.rpc(function, dict(arguments)))


async def _answered(query: Any) -> Any:
    try:
        return (await query.execute()).data
    except APIError as error:
        raise RequestRefused(explained(error)) from error
    except httpx.HTTPError as error:
        raise RequestRefused(
            f"the project does not answer ({type(error).__name__} {error}): `rowcall doctor` looks closer"
        ) from error


def explained(error: APIError) -> str:
    """What the project said, and the cure where it is known."""
    code, message = error.code or "", error.message or "the project refused"
    if not code or code == "42501" or code.startswith("PGRST"):  # the key, a grant, the schema: not the arguments
        return f"{message}{f' ({code})' if code else ''}: `rowcall doctor` says what is wrong"
    return f"{message} ({code}).{f' {error.hint}' if error.hint else ''}"
