import json
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.streaming import utf16_length
from worker.outbox import Budget, Outbox, encode, merge
from worker.ports import Broadcasted

TEXT = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=12)


def delta(topic: str, attempt: int, offset: int, text: str) -> Broadcasted:
    return Broadcasted(topic, "delta", {"attempt": attempt, "offset": offset, "text": text})


def delta_after(topic: str, attempt: int, whole: str, text: str) -> Broadcasted:
    """The delta that brings `text`, the end of `whole`."""
    return delta(topic, attempt, utf16_length(whole[: len(whole) - len(text)]), text)


def done(topic: str) -> Broadcasted:
    return Broadcasted(topic, "done", {"attempt": 1, "status": "succeeded"})


@st.composite
def streams(draw: st.DrawFn) -> list[Broadcasted]:
    """Interleaved streams of a few topics: deltas that continue each other, key frames, new attempts, `done`."""
    messages: list[Broadcasted] = []
    at: dict[str, tuple[int, str]] = {}
    for topic in draw(st.lists(st.sampled_from("abc"), max_size=30)):
        attempt, so_far = at.get(topic, (1, ""))
        match draw(st.sampled_from(["delta", "delta", "delta", "key frame", "attempt", "done"])):
            case "delta" | "key frame" as kind:
                text = draw(TEXT)
                at[topic] = attempt, so_far + text
                whole = kind == "key frame"
                messages.append(
                    delta(topic, attempt, 0, so_far + text) if whole else delta_after(topic, *at[topic], text)
                )
            case "attempt":
                at[topic] = attempt + 1, ""
            case _:
                messages.append(done(topic))
    return messages


def told(messages: list[Broadcasted]) -> dict[str, list[object]]:
    """What each topic's listeners have after these messages: the text by attempt, and what came between."""
    heard: dict[str, list[object]] = defaultdict(list)
    for message in messages:
        story = heard[message.topic]
        if message.event != "delta":
            story.append(message.event)
            continue
        attempt, text = message.payload["attempt"], message.payload["text"]
        last = story[-1] if story else None
        if isinstance(last, tuple) and last[0] == attempt:
            offset = message.payload["offset"]
            assert offset in {0, utf16_length(last[1])}
            story[-1] = (attempt, last[1] + text if offset else text)
        else:
            story.append((attempt, text))
    return dict(heard)


def started_from_nought(messages: list[Broadcasted]) -> bool:
    """No stream resumes after a `done`: then `told` could not check offsets."""
    ended: set[str] = set()
    for message in messages:
        if message.topic in ended and message.event == "delta" and message.payload["offset"] > 0:
            return False
        if message.event == "done":
            ended.add(message.topic)
    return True


@given(streams().filter(started_from_nought), st.lists(st.integers(1, 4), max_size=10), st.integers(250, 2_000))
def test_clients_hear_the_same_story_in_no_more_messages(
    messages: list[Broadcasted], takes: list[int], max_bytes: int
) -> None:
    outbox = Outbox(max_bytes)
    taken: list[Broadcasted] = []
    for n, message in enumerate(messages):
        outbox.put(message)
        if n < len(takes):
            taken += outbox.take(takes[n])
    while outbox:
        batch = outbox.take(7)
        assert 0 < len(batch) <= 7
        assert len(batch) == 1 or len(encode(batch)) <= max_bytes
        taken += batch
    assert told(taken) == told(messages)
    assert len(taken) <= len(messages)
    assert len(outbox) == 0


def test_deltas_that_wait_together_become_one_though_other_topics_speak_in_between() -> None:
    outbox = Outbox(10_000)
    for message in (delta("a", 1, 0, "He"), delta("b", 1, 0, "x"), delta("a", 1, 2, "llo"), delta("a", 1, 5, " 🌍")):
        outbox.put(message)
    assert outbox.take(10) == (delta("a", 1, 0, "Hello 🌍"), delta("b", 1, 0, "x"))


def test_a_delta_never_moves_before_what_came_between() -> None:
    outbox = Outbox(10_000)
    for message in (delta("a", 1, 0, "He"), done("a"), delta("a", 1, 2, "y")):
        outbox.put(message)
    assert [message.event for message in outbox.take(10)] == ["delta", "done", "delta"]


@pytest.mark.parametrize(
    "second",
    [
        delta("b", 1, 2, "llo"),  # another topic
        delta("a", 2, 2, "llo"),  # another attempt
        delta("a", 1, 3, "llo"),  # a gap
        delta("a", 1, 1, "llo"),  # over a part of the same text
        done("a"),
    ],
)
def test_a_delta_that_neither_continues_nor_replaces_the_other_stays_apart(second: Broadcasted) -> None:
    assert merge(delta("a", 1, 0, "He"), second) is None


def test_key_frames_that_wait_are_one_message_however_many_they_are() -> None:
    """A text's first 400 units are sent whole each time: unmerged, they outgrew any budget and answers came late."""
    outbox = Outbox(10_000)
    for length in range(1, 81):
        outbox.put(delta("a", 1, 0, "x" * length))
    outbox.put(delta("a", 1, 80, "y"))
    assert outbox.take(10) == (delta("a", 1, 0, "x" * 80 + "y"),)


def test_offsets_count_utf_16_code_units() -> None:
    assert merge(delta("a", 1, 5, "🌍"), delta("a", 1, 7, "!")) == delta("a", 1, 5, "🌍!")
    assert merge(delta("a", 1, 5, "🌍"), delta("a", 1, 6, "!")) is None


def test_a_message_larger_than_a_request_goes_alone() -> None:
    outbox = Outbox(1_000)
    for message in (done("a"), delta("b", 1, 0, "x" * 2_000), done("c")):
        outbox.put(message)
    assert [len(outbox.take(10)) for _ in range(3)] == [1, 1, 1]


@given(streams())
def test_a_request_is_json_for_private_topics(messages: list[Broadcasted]) -> None:
    rows = json.loads(encode(tuple(messages)))["messages"]
    assert [row["topic"] for row in rows] == [message.topic for message in messages]
    assert all(row["private"] is True and row.keys() == {"topic", "event", "payload", "private"} for row in rows)


@given(st.floats(0.5, 500), st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_no_more_messages_are_spent_than_the_budget_allows(per_s: float, pauses_s: list[float]) -> None:
    budget, now_s, spent = Budget(per_s, tokens=per_s, at_s=0.0), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        available = budget.available(now_s)
        assert available <= max(per_s, 1.0) + 1e-6
        budget.spend(available)
        spent += available
    assert spent <= per_s * now_s + max(per_s, 1.0) + 1e-6


@given(st.floats(0.5, 500), st.floats(0, 1))
def test_after_the_wait_a_message_may_be_sent(per_s: float, tokens: float) -> None:
    budget = Budget(per_s, tokens=tokens * 0.99, at_s=10.0)
    wait_s = budget.wait_s()
    assert wait_s > 0
    assert budget.available(10.0 + wait_s + 1e-6) >= 1
