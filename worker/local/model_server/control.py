"""The interface for tests: which faults the server shall show, and what it did."""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.local.model_server.faults import Faults, Rule
from worker.local.model_server.journal import Journal

_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(Annotated[tuple[Rule, ...], Field(min_length=1)])


class Control:
    """`/control/faults`: POST a list of rules to add them, GET what is left of them, DELETE all.

    `/control/log`: GET the requests in the order in which they came, DELETE them.
    """

    def __init__(self, faults: Faults, journal: Journal) -> None:
        self._faults = faults
        self._journal = journal

    def routes(self) -> list[Route]:
        return [
            Route("/control/faults", self._add_faults, methods=["POST"]),
            Route("/control/faults", self._list_faults, methods=["GET"]),
            Route("/control/faults", self._clear_faults, methods=["DELETE"]),
            Route("/control/log", self._read_log, methods=["GET"]),
            Route("/control/log", self._clear_log, methods=["DELETE"]),
        ]

    async def _add_faults(self, request: Request) -> Response:
        try:
            rules = _RULES.validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"errors": error.errors(include_url=False, include_context=False)}, status_code=422)
        self._faults.add(rules)
        return await self._list_faults(request)

    async def _list_faults(self, _request: Request) -> Response:
        return JSONResponse(_RULES.dump_python(self._faults.rules, mode="json"))

    async def _clear_faults(self, _request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def _read_log(self, _request: Request) -> Response:
        return JSONResponse(self._journal.as_json())

    async def _clear_log(self, _request: Request) -> Response:
        self._journal.clear()
        return Response(status_code=204)
