from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.streaming import utf16_length
from worker.transcript import Transcript

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)  # incl. astral characters


def deltas_of(parts: list[str], attempt: int = 1) -> list[tuple[int, int, str]]:
    messages, offset = [], 0
    for part in parts:
        messages.append((attempt, offset, part))
        offset += utf16_length(part)
    return messages


@given(st.lists(texts, max_size=8), st.data())
def test_doubled_and_late_deltas_change_nothing(parts: list[str], data: st.DataObject) -> None:
    transcript = Transcript()
    sent = deltas_of(parts)
    for n, message in enumerate(sent):
        transcript = transcript.with_delta(*message)
        transcript = transcript.with_delta(*data.draw(st.sampled_from(sent[: n + 1])))
    assert transcript.text == "".join(parts)
    assert not transcript.has_gap


@given(st.lists(texts, min_size=2, max_size=8), st.data())
def test_a_lost_delta_shows_as_a_gap_and_the_text_before_it_stays_whole(parts: list[str], data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, len(parts) - 2))
    transcript = Transcript()
    for n, message in enumerate(deltas_of(parts)):
        if n != lost:
            transcript = transcript.with_delta(*message)
    assert transcript.has_gap
    assert transcript.text == "".join(parts[:lost])


@given(st.lists(texts, min_size=1, max_size=8))
def test_a_key_frame_heals_a_gap(parts: list[str]) -> None:
    gapped = Transcript().with_delta(1, 1000, "later")
    assert gapped.has_gap
    healed = gapped.with_delta(1, 0, "".join(parts))
    assert (healed.text, healed.has_gap) == ("".join(parts), False)


def test_a_newer_attempt_starts_afresh_and_an_older_one_is_not_heard_any_more() -> None:
    first = Transcript().with_delta(1, 0, "The answer is")
    second = first.with_delta(2, 0, "It depends")
    assert second.text == "It depends"
    assert second.with_delta(1, 13, " 42") == second


def test_the_ended_row_is_the_last_word() -> None:
    ended = (
        Transcript().with_delta(1, 0, "half an ans").with_snapshot(1, "succeeded", None, "half an answer, and its end")
    )
    assert ended.is_finished
    assert ended.text == "half an answer, and its end"
    assert ended.with_delta(2, 0, "late") == ended


def test_a_snapshot_that_is_older_than_the_stream_does_not_take_text_away() -> None:
    streamed = Transcript().with_delta(1, 0, "a long text already")
    assert streamed.with_snapshot(1, "running", "a long", None).text == "a long text already"
    assert streamed.with_snapshot(1, "queued", None, None).text == "a long text already"
