"""What a project answers to a query of the SDK, and how it says no."""

from typing import Any

import httpx
from postgrest import APIError

# HTTP statuses of a proxy, SQLSTATEs of a server in trouble, PostgREST's own connections.
AGAIN = ("408", "429", "5", "08", "PGRST0")


class RequestRefused(Exception):
    """The project said no, or did not answer; the message is for the person who asked."""


class Unreachable(RequestRefused):
    """The project did not answer, or has trouble of its own: the same may be asked again."""


class ValuesRefused(RequestRefused):
    """The project takes requests, and not what this one brings: too large, not of its type, against a constraint."""


async def rows(query: Any) -> list[dict[str, Any]]:
    return list(await answered(query))


async def answered(query: Any) -> Any:
    """What the query answers. Raises RequestRefused."""
    try:
        return (await query.execute()).data
    except APIError as error:
        hint = f" {error.hint}" if error.hint else ""
        raise _kind(str(error.code))(f"{error.message} ({error.code}).{hint}") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"the project does not answer: {type(error).__name__} {error}") from error


def _kind(code: str) -> type[RequestRefused]:
    """`code`: Postgres', PostgREST's, or an HTTP status."""
    if code.startswith(AGAIN):
        return Unreachable
    return ValuesRefused if code in {"PT400", "413"} or code.startswith(("22", "23")) else RequestRefused
