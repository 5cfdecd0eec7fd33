"""Broadcast by HTTP: `POST …/api/broadcast` with many messages, `POST …/api/broadcast/{topic}/events/{event}` with one.

Source: supabase/realtime, `BatchBroadcast` and `SingleBroadcast`; the answers about keys are those of the hosted API
gateway. In a batch, what its sender may not write to a private topic is dropped without a word.
"""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worker.local.realtime_server.channels import MOST_PAYLOAD_BYTES, Services
from worker.local.realtime_server.hub import Room
from worker.local.realtime_server.protocol import Broadcast, Encoding, from_json, to_json
from worker.local.realtime_server.tokens import Claims, TokenRefused, is_api_key

BLANK, INVALID, TOO_LARGE = "can't be blank", "is invalid", "Payload size exceeds tenant limit"
ACCEPTED = 202


class RequestRefused(Exception):
    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def answer_refusal(_request: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, RequestRefused):
        raise refusal
    return JSONResponse(refusal.body, refusal.status)


@dataclass(frozen=True, slots=True)
class Outgoing:
    room: Room
    broadcast: Broadcast


async def broadcast_batch(request: Request) -> Response:
    services: Services = request.state.services
    claims = authenticate(request)
    messages = read_batch(await read_json(request))
    allowed: dict[Room, bool] = {}
    for message in messages:
        if message.room not in allowed:
            allowed[message.room] = await may_send(services, message.room, claims)
        if allowed[message.room]:
            services.hub.publish(message.room, message.broadcast)
    return Response(status_code=ACCEPTED)


async def broadcast_single(request: Request) -> Response:
    services: Services = request.state.services
    claims = authenticate(request)
    topic, event = read_path(request)
    room = Room(topic, private=request.query_params.get("private") == "true")
    match request.headers.get("content-type", "").partition(";")[0].strip():
        case "application/json":
            broadcast = Broadcast(event, to_json(await read_json(request)).encode())
        case "application/octet-stream":
            broadcast = Broadcast(event, await request.body(), Encoding.BINARY)
        case _:
            raise RequestRefused(415, {"message": "Content-Type must be application/json or application/octet-stream"})
    if len(broadcast.payload) > MOST_PAYLOAD_BYTES:
        raise RequestRefused(422, {"errors": {"payload": [TOO_LARGE]}})
    if not await may_send(services, room, claims):
        raise RequestRefused(403, {"message": "Unauthorized"})
    services.hub.publish(room, broadcast)
    return Response(status_code=ACCEPTED)


async def may_send(services: Services, room: Room, claims: Claims) -> bool:
    return not room.private or await services.access.may("send", room.name, claims)


def authenticate(request: Request) -> Claims:
    """The user's, if there is a user's token beside the API key."""
    services: Services = request.state.services
    key = request.headers.get("apikey") or request.query_params.get("apikey")
    if key is None:
        raise RequestRefused(401, {"message": "No API key found in request"})
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = services.keyring.claims_of_key(key, time.time())
        if scheme.lower() == "bearer" and not is_api_key(token):
            claims = services.keyring.claims_of_token(token.strip(), time.time())
    except TokenRefused as error:
        raise RequestRefused(401, {"message": "Unauthorized"}) from error
    return claims


def read_path(request: Request) -> tuple[str, str]:
    """Topic and event. Of the raw path: either may contain an encoded slash."""
    raw_path: bytes = request.scope["raw_path"]
    *_, topic, _events, event = raw_path.partition(b"?")[0].split(b"/")
    try:
        return unquote_to_bytes(topic).decode(), unquote_to_bytes(event).decode()
    except UnicodeDecodeError as error:
        raise RequestRefused(400, {"message": "the path is not UTF-8"}) from error


async def read_json(request: Request) -> Any:
    try:
        return from_json(await request.body())
    except ValueError as error:
        raise RequestRefused(400, {"message": f"the body is not JSON: {error}"}) from error


def read_batch(body: object) -> list[Outgoing]:
    """All of the batch or, if a message in it is wrong, nothing."""
    entries = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise RequestRefused(422, {"errors": {"messages": [BLANK]}})
    errors = [_errors(entry) for entry in entries]
    messages: list[Outgoing] = []
    for entry, wrong in zip(entries, errors, strict=True):
        if not wrong:
            room = Room(entry["topic"], private=entry.get("private") is True)
            messages.append(Outgoing(room, Broadcast(entry["event"], to_json(entry["payload"]).encode())))
            if len(messages[-1].broadcast.payload) > MOST_PAYLOAD_BYTES:
                wrong["payload"] = [TOO_LARGE]
    if any(errors):
        raise RequestRefused(422, {"errors": {"messages": errors}})
    return messages


def _errors(entry: object) -> dict[str, list[str]]:
    if not isinstance(entry, dict):
        return {"message": [INVALID]}
    errors: dict[str, list[str]] = {}
    for name, kind in (("topic", str), ("event", str), ("payload", dict)):
        value = entry.get(name)
        if value is None or value == "":
            errors[name] = [BLANK]
        elif not isinstance(value, kind):
            errors[name] = [INVALID]
    if not isinstance(entry.get("private"), bool | None):
        errors["private"] = [INVALID]
    return errors
