"""Broadcast by HTTP: `POST …/api/broadcast` with many messages, `POST …/api/broadcast/{topic}/events/{event}` with one.

Source: supabase/realtime, `BatchBroadcast` and `SingleBroadcast`; the answers about keys are those of the hosted API
gateway. A message to a private topic that its sender may not write to is dropped from a batch, without a word.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.local.realtime_server.channels import MOST_PAYLOAD_BYTES, NO_DATABASE, Services
from worker.local.realtime_server.database import DatabaseUnavailable
from worker.local.realtime_server.hub import Room
from worker.local.realtime_server.protocol import Broadcast, Encoding, from_json, to_json
from worker.local.realtime_server.tokens import Claims, TokenRefused, is_api_key

ENCODINGS = {"application/json": Encoding.JSON, "application/octet-stream": Encoding.BINARY}


class RequestRefused(Exception):
    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Outgoing:
    room: Room
    broadcast: Broadcast


async def broadcast_batch(request: Request) -> Response:
    return await _answer(_send_batch(request))


async def broadcast_single(request: Request) -> Response:
    return await _answer(_send_single(request))


async def _answer(work: Any) -> Response:
    try:
        await work
    except RequestRefused as refusal:
        return JSONResponse(refusal.body, refusal.status)
    except DatabaseUnavailable:
        return JSONResponse({"message": NO_DATABASE}, 503)
    return Response(status_code=202)
