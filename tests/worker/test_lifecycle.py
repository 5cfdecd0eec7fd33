from worker.lifecycle import MOVES, STATUSES, UNFINISHED, move_is_allowed


def test_every_unfinished_status_has_a_way_out_and_success_is_final() -> None:
    for status in STATUSES:
        leaves = {after for _, before, after in MOVES if before == status} - {status}
        assert leaves or status == "succeeded"
    assert frozenset({"queued", "running"}) == UNFINISHED


def test_a_row_is_queued_again_only_by_retry_release_and_replay() -> None:
    assert {verb for verb, _, after in MOVES if after == "queued"} == {"retry", "release", "replay"}
    assert not move_is_allowed("succeeded", "queued")
    assert move_is_allowed("failed", "queued")
