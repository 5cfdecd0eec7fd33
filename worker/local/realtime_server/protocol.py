"""The wire (pure): Phoenix messages as JSON objects (vsn 1.0.0), or as JSON arrays beside binary broadcasts (2.0.0).

Source: supabase/realtime, `RealtimeWeb.Socket.V2Serializer`, and Phoenix' `V1.JSONSerializer`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

Frame = str | bytes

USER_BROADCAST_PUSH = 3  # client → server
USER_BROADCAST = 4  # server → client
PUSH_LENGTHS = 5  # join_ref, ref, topic, event, meta; then one byte for the encoding
LONGEST_FIELD = 255  # a length is one byte


class Vsn(Enum):
    V1 = "1.0.0"
    V2 = "2.0.0"


class Encoding(Enum):
    BINARY = 0
    JSON = 1


class MalformedFrame(ValueError):
    """Not a frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    event: str
    payload: Mapping[str, Any]
    ref: str | None = None
    join_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """What one client, request or transaction sends to a topic. The payload is encoded: fan-out never looks inside."""

    event: str
    payload: bytes
    encoding: Encoding = Encoding.JSON
    id: str | None = None  # only messages that the database sent have one


@dataclass(frozen=True, slots=True)
class BroadcastPush:
    """A client's message of event `broadcast`, text or binary."""

    topic: str
    broadcast: Broadcast
    ref: str | None
    join_ref: str | None


def to_json(value: object) -> str:
    """Compact, and always encodable as UTF-8: half a surrogate pair stays escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def from_json(text: str | bytes) -> Any:
    """ValueError for what is no JSON, also for the NaN that Python lets pass and for a depth that it cannot hold."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# What clients send


def decode(vsn: Vsn, frame: Frame) -> Message | BroadcastPush:
    if isinstance(frame, bytes):
        return _decode_push(frame)
    try:
        content = from_json(frame)
    except ValueError as error:
        raise MalformedFrame(f"not JSON: {error}") from error
    return _message(*_fields(vsn, content))


def _fields(vsn: Vsn, content: object) -> tuple[object, object, object, object, object]:
    """join_ref, ref, topic, event, payload"""
    if vsn is Vsn.V2:
        if not isinstance(content, list) or len(content) < 5:
            raise MalformedFrame("vsn 2.0.0 takes an array of five")
        return (content[0], content[1], content[2], content[3], content[4])
    if not isinstance(content, dict):
        raise MalformedFrame("vsn 1.0.0 takes an object")
    get = content.get
    return get("join_ref"), get("ref"), get("topic"), get("event"), get("payload")


def _message(join_ref: object, ref: object, topic: object, event: object, payload: object) -> Message | BroadcastPush:
    if not isinstance(topic, str) or not isinstance(event, str):
        raise MalformedFrame("topic and event must be strings")
    if not isinstance(ref, str | None) or not isinstance(join_ref, str | None):
        raise MalformedFrame("ref and join_ref must be strings or null")
    if not isinstance(payload, dict):
        raise MalformedFrame("the payload must be an object")
    if event == "broadcast":
        name = payload.get("event")
        if not isinstance(name, str):
            raise MalformedFrame("a broadcast must name its event")
        return BroadcastPush(topic, Broadcast(name, to_json(payload.get("payload")).encode()), ref, join_ref)
    return Message(topic, event, payload, ref, join_ref)


def _decode_push(frame: bytes) -> BroadcastPush:
    start = 2 + PUSH_LENGTHS
    if len(frame) < start or frame[0] != USER_BROADCAST_PUSH:
        raise MalformedFrame("a binary frame must be a broadcast (kind 3)")
    lengths, encoding = frame[1 : start - 1], frame[start - 1]
    if start + sum(lengths) > len(frame):
        raise MalformedFrame("the frame is shorter than its lengths say")
    fields: list[str] = []
    for length in lengths:
        try:
            fields.append(frame[start : start + length].decode())
        except UnicodeDecodeError as error:
            raise MalformedFrame("a field is not UTF-8") from error
        start += length
    join_ref, ref, topic, event, _meta = fields
    broadcast = Broadcast(event, frame[start:], Encoding.JSON if encoding else Encoding.BINARY)
    if broadcast.encoding is Encoding.JSON:
        _require_json(broadcast.payload)
    return BroadcastPush(topic, broadcast, ref or None, join_ref or None)


def _require_json(payload: bytes) -> None:
    try:
        from_json(payload)
    except ValueError as error:  # also what is not UTF-8
        raise MalformedFrame(f"the payload is not JSON: {error}") from error


# What the server sends


def encode(vsn: Vsn, message: Message) -> str:
    if vsn is Vsn.V2:
        return to_json([message.join_ref, message.ref, message.topic, message.event, message.payload])
    return to_json(
        {"topic": message.topic, "event": message.event, "payload": message.payload, "ref": message.ref},
    )


def encode_broadcast(vsn: Vsn, topic: str, broadcast: Broadcast) -> Frame | None:
    """None: vsn 1.0.0 has no form for this payload, its clients do not get it."""
    fields = (topic.encode(), broadcast.event.encode(), _meta(broadcast).encode())
    fits = all(len(field) <= LONGEST_FIELD for field in fields)
    if vsn is Vsn.V2 and fits:
        header = bytes([USER_BROADCAST, *(len(field) for field in fields), broadcast.encoding.value])
        return b"".join((header, *fields, broadcast.payload))
    if broadcast.encoding is Encoding.BINARY:
        return None
    meta = f',"meta":{_meta(broadcast)}' if broadcast.id is not None else ""
    payload = f'{{"type":"broadcast","event":{to_json(broadcast.event)},"payload":{broadcast.payload.decode()}{meta}}}'
    return _around(vsn, topic, "broadcast", payload)


def encode_change(vsn: Vsn, topic: str, ids: Sequence[int], data: str) -> str:
    """`data` is JSON already, and the same text for many subscribers."""
    return _around(vsn, topic, "postgres_changes", f'{{"ids":{to_json(ids)},"data":{data}}}')


def _around(vsn: Vsn, topic: str, event: str, payload: str) -> str:
    """A message without refs around a payload that is JSON already."""
    if vsn is Vsn.V2:
        return f'[null,null,{to_json(topic)},"{event}",{payload}]'
    return f'{{"topic":{to_json(topic)},"event":"{event}","payload":{payload},"ref":null}}'


def _meta(broadcast: Broadcast) -> str:
    return "" if broadcast.id is None else to_json({"id": broadcast.id})
