import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.local.realtime_server.wire import binary_push, read_binary
from worker.local.realtime_server.protocol import (
    Broadcast,
    BroadcastPush,
    Encoding,
    MalformedFrame,
    Message,
    Vsn,
    decode,
    encode,
    encode_broadcast,
    encode_change,
    from_json,
    to_json,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
refs = st.none() | texts
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(texts, values, max_size=4)


def spoken(vsn: Vsn, message: Message) -> str:
    """As a client sends it."""
    if vsn is Vsn.V2:
        return json.dumps([message.join_ref, message.ref, message.topic, message.event, message.payload])
    fields = ("join_ref", "ref", "topic", "event", "payload")
    return json.dumps({field: getattr(message, field) for field in fields})


def understood(vsn: Vsn, frame: str | bytes) -> tuple[str, str, Any]:
    """Topic, event and payload, as a client reads them."""
    if isinstance(frame, bytes):
        heard = read_binary(frame)
        return heard.topic, heard.event, heard.payload
    content = json.loads(frame)
    return (content[2], content[3], content[4]) if vsn is Vsn.V2 else tuple(content[n] for n in FIELDS)


FIELDS = ("topic", "event", "payload")


@given(st.sampled_from(Vsn), st.builds(Message, texts, texts.filter("broadcast".__ne__), objects, refs, refs))
def test_what_a_client_sends_is_read_as_it_was_meant(vsn: Vsn, message: Message) -> None:
    assert decode(vsn, spoken(vsn, message)) == message


@given(st.sampled_from(Vsn), texts, texts, values, refs, refs)
def test_a_text_broadcast_is_read_with_its_payload_encoded(
    vsn: Vsn, topic: str, event: str, payload: Any, ref: str | None, join_ref: str | None
) -> None:
    content = {"type": "broadcast", "event": event, "payload": payload}
    push = decode(vsn, spoken(vsn, Message(topic, "broadcast", content, ref, join_ref)))
    assert isinstance(push, BroadcastPush)
    assert (push.topic, push.ref, push.join_ref, push.broadcast.event) == (topic, ref, join_ref, event)
    assert from_json(push.broadcast.payload) == payload


short = texts.filter(lambda text: len(text.encode()) <= 255)


@given(short, short, st.binary(), short.filter(bool))
def test_a_binary_broadcast_is_read_field_by_field(topic: str, event: str, payload: bytes, ref: str) -> None:
    push = decode(Vsn.V2, binary_push(topic, event, payload, ref=ref, is_json=False))
    assert push == BroadcastPush(topic, Broadcast(event, payload, Encoding.BINARY), ref, None)


@given(st.sampled_from(Vsn), texts, st.text(max_size=300).map(str.strip), values, st.none() | texts)
def test_a_broadcast_means_the_same_in_every_form(
    vsn: Vsn, topic: str, event: str, payload: Any, message_id: str | None
) -> None:
    event = event.encode("utf-8", "replace").decode()
    frame = encode_broadcast(vsn, topic, Broadcast(event, to_json(payload).encode(), id=message_id))
    assert frame is not None
    meta = {} if message_id is None else {"meta": {"id": message_id}}
    content = {"type": "broadcast", "event": event, "payload": payload, **meta}
    assert understood(vsn, frame) == (topic, "broadcast", content)


@given(st.sampled_from(Vsn), texts, st.lists(st.integers(1)), objects)
def test_a_change_is_wrapped_around_data_that_is_encoded_already(
    vsn: Vsn, topic: str, ids: list[int], data: dict[str, Any]
) -> None:
    frame = encode_change(vsn, topic, ids, json.dumps(data))
    assert understood(vsn, frame) == (topic, "postgres_changes", {"ids": ids, "data": data})


@given(st.sampled_from(Vsn), st.builds(Message, texts, texts, objects, refs, refs))
def test_what_the_server_says_is_read_as_it_was_meant(vsn: Vsn, message: Message) -> None:
    assert understood(vsn, encode(vsn, message)) == (message.topic, message.event, message.payload)


def test_protocol_1_has_no_form_for_binary_payloads() -> None:
    assert encode_broadcast(Vsn.V1, "realtime:t", Broadcast("e", b"\0", Encoding.BINARY)) is None


@given(st.sampled_from(Vsn), st.binary() | st.text() | values.map(json.dumps))
def test_any_frame_is_read_or_refused(vsn: Vsn, frame: str | bytes) -> None:
    try:
        decode(vsn, frame)
    except MalformedFrame:
        return


@pytest.mark.parametrize(
    "frame",
    [
        '{"topic":"t","event":"e","payload":[],"ref":null}',
        '{"topic":"t","event":"e","payload":{},"ref":1}',
        '{"topic":"t","event":"broadcast","payload":{}}',
        '{"topic":"t","event":"e","payload":{"n":NaN}}',
        "[" * 100_000,
        b"\x04\0\0\0\0\0\0",
        binary_push("t", "e", b"{", is_json=True),
        binary_push("t", "e", b"", is_json=False)[:-2],
    ],
)
def test_a_frame_that_breaks_the_protocol_is_refused(frame: str | bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode(Vsn.V1, frame)


def test_half_a_surrogate_pair_can_be_sent_on() -> None:
    assert to_json({"ü": "\ud83d"}).encode() == b'{"\\u00fc":"\\ud83d"}'
    assert to_json({"ü": "😀"}) == '{"ü":"😀"}'
