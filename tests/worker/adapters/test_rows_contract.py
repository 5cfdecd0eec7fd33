"""`worker.ports.Rows`, in memory and on the embedded Supabase."""

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.decisions.falling_back import Failure
from jobs.errors import AttemptLost, Permanent, Refused
from jobs.ports import Finished, ModelName, Opening, Work
from tests.worker.adapters.grounds import MODEL, Ground, Stored, StoredCall
from worker.ports import Canceled, Checkpoint, Closing, Due, Ended, Lease, Poisoned, Requeued, Rows, Unsettleable

ERROR = {"code": "model.limited", "message": "Too many requests."}


async def claimed(rows: Rows, id: str) -> Work:
    work = await rows.claim(id)
    assert work is not None
    return work


def ended(work: Work, answer: str = "Because.", calls: tuple[Closing, ...] = ()) -> Ended:
    return Ended(work.id, work.attempt, "succeeded", Finished(answer=answer), None, calls)


def closing(call_id: str, *, tokens_in: int | None = 7, cost_usd: float | None = 0.25) -> Closing:
    return Closing(call_id, "succeeded", MODEL, "fast", 120, 30, tokens_in, 0, 3, 0, cost_usd)


# Claim


async def test_a_claim_answers_what_the_job_needs(ground: Ground) -> None:
    user = ground.user()
    id = ground.insert(input={"question": "why?", "history": []}, user_id=user)
    work = await claimed(ground.rows("a"), id)
    assert (work.id, work.attempt, work.tries, work.kind, work.lane) == (id, 1, 1, "answer", "interactive")
    assert (work.user_id, work.tenant) == (user, user)
    assert work.input == {"question": "why?", "history": []}
    assert work.options == {}
    assert work.created_at.tzinfo is not None
    assert work.first_call is not None
    assert ground.calls(id) == [StoredCall("embed", "open")]


async def test_a_kind_without_an_opening_has_no_first_call(ground: Ground) -> None:
    work = await claimed(ground.rows("a", opens={"ingest": Opening("embed", MODEL)}), ground.insert())
    assert work.first_call is None


async def test_a_claim_tells_which_routes_broke_off_in_mid_answer_before(ground: Ground) -> None:
    rows, id = ground.rows("a"), ground.insert()
    work = await claimed(rows, id)
    assert work.broken_off == ()
    calls = []
    for route, first_token_ms, code in (
        ("fast", 30, "model.stream_cut"),
        ("silent", None, "model.timeout"),
        ("strong", 40, "model.refused"),
        ("lost", 50, "attempt.lost"),
    ):
        opened = await rows.open_call(work, Opening("answer", MODEL, route))
        calls.append(Closing(opened, "failed", MODEL, route, 120, first_token_ms, error_code=code))
    assert await rows.retry(Requeued(id, 1, tuple(calls)))
    again = await claimed(rows, id)
    assert again.broken_off == (Failure("fast", "model.stream_cut"), Failure("strong", "model.refused"))


async def test_a_tenant_s_budget_is_reserved_before_a_call_and_settled_after_it(ground: Ground) -> None:
    rows, user = ground.rows("a"), ground.user()
    work = await claimed(rows, ground.insert(user_id=user))
    assert work.budget_left_share == pytest.approx(1.0)
    most = Opening("answer", MODEL, "best", reserved_usd=6.0)  # of the 10 of a day
    first = await rows.open_call(work, most)
    with pytest.raises(Refused, match="usd_per_tenant_and_day"):
        await rows.open_call(work, most)
    other = await claimed(rows, ground.insert(user_id=user))
    assert other.budget_left_share == pytest.approx(0.4)
    with pytest.raises(Refused):  # another row of the same tenant
        await rows.open_call(other, most)
    await rows.open_call(other, Opening("answer", MODEL, "unpriced"))  # an unknown price is not 0, and forbids nothing
    await rows.close_calls([closing(first, cost_usd=2.5)])
    assert await rows.open_call(work, most)
    stranger = await claimed(rows, ground.insert(user_id=ground.user()))
    assert await rows.open_call(stranger, most)


async def test_a_dearer_call_takes_the_place_of_one_that_will_not_be_made(ground: Ground) -> None:
    cheap, dear = (Opening("answer", MODEL, name, reserved_usd=usd) for name, usd in (("fast", 6.0), ("best", 7.0)))
    rows = ground.rows("a", opens={"answer": cheap})
    work, other = [await claimed(rows, ground.insert(user_id=ground.user())) for _ in range(2)]
    assert work.first_call is not None
    with pytest.raises(Refused):
        await rows.open_call(work, dear)  # beside the 6 of 10 that are reserved
    with pytest.raises(Refused):  # another row's call stays
        await rows.open_call(other, dear, instead_of=work.first_call.id)
    assert len(ground.calls(work.id)) == 1
    assert await rows.open_call(work, dear, instead_of=work.first_call.id)
    assert ground.calls(work.id) == [StoredCall("answer", "open")]


async def test_a_claim_opens_no_call_that_the_budget_forbids(ground: Ground) -> None:
    dear = Opening("answer", MODEL, "best", reserved_usd=11.0)
    work = await claimed(ground.rows("a", opens={"answer": dear}), ground.insert(user_id=ground.user()))
    assert work.first_call is None


async def test_two_concurrent_claims_of_one_row_have_one_winner(ground: Ground) -> None:
    id = ground.insert()
    one, other = ground.rows("a"), ground.rows("b")
    works = await asyncio.gather(*(rows.claim(id) for rows in (one, other, one, other)))
    assert [work.attempt for work in works if work is not None] == [1]
    assert ground.stored(id) == Stored("running", 1, 1, outcomes=(None,))


async def test_many_workers_claim_every_row_once(ground: Ground) -> None:
    ids = [ground.insert() for _ in range(30)]
    workers = [ground.rows(str(n)) for n in range(6)]
    works = await asyncio.gather(*(rows.claim(id) for rows in workers for id in ids))
    assert sorted(work.id for work in works if work is not None) == sorted(ids)


async def test_a_row_that_is_gone_or_runs_or_ended_or_is_not_due_is_not_given_out(ground: Ground) -> None:
    rows = ground.rows("a")
    gone, running, finished, later = (ground.insert(run_in_s=60 * (n == 3)) for n in range(4))
    ground.delete(gone)
    await claimed(rows, running)
    await rows.end(ended(await claimed(rows, finished)))
    assert [await rows.claim(id) for id in (gone, running, finished, later)] == [None] * 4


async def test_an_ended_lease_lets_another_worker_claim_and_the_first_one_hears_that_it_lost(ground: Ground) -> None:
    id = ground.insert()
    first, second = ground.rows("a"), ground.rows("b")
    await claimed(first, id)
    assert await second.claim(id) is None
    ground.end_lease(id)
    work = await claimed(second, id)
    assert (work.attempt, work.tries) == (2, 2)
    assert list(first.renew()) == [Lease(id, 1, "lost")]
    assert list(second.renew()) == [Lease(id, 2, "held")]
    assert [call.status for call in ground.calls(id)].count("abandoned") == 1


async def test_a_row_that_was_lost_three_times_fails_with_the_next_claim(ground: Ground) -> None:
    id = ground.insert()
    rows = ground.rows("a")
    for _ in range(3):
        await claimed(rows, id)
        ground.end_lease(id)
    with pytest.raises(Poisoned):
        await ground.rows("b").claim(id)
    stored = ground.stored(id)
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "attempt.poisoned")
    assert stored.outcomes == ("lost", "lost", "lost")
    assert [call.status for call in ground.calls(id)] == ["abandoned"] * 3
    assert await rows.claim(id) is None


# Leases


async def test_a_renewed_lease_keeps_the_row_from_others(ground: Ground) -> None:
    id = ground.insert()
    first, second = ground.rows("a"), ground.rows("b")
    await claimed(first, id)
    ground.end_lease(id)
    assert list(first.renew()) == [Lease(id, 1, "held")]
    assert await second.claim(id) is None


async def test_a_renewal_shows_that_the_owner_canceled(ground: Ground) -> None:
    id = ground.insert(user_id=ground.user())
    rows = ground.rows("a")
    work = await claimed(rows, id)
    await rows.checkpoint(Checkpoint(id, work.attempt, "Beca"))
    ground.cancel(id)
    assert list(rows.renew()) == [Lease(id, 1, "canceled")]
    assert not await rows.end(ended(work))
    stored = ground.stored(id)
    assert (stored.status, stored.answer, stored.outcomes) == ("canceled", "Beca", ("canceled",))


async def test_a_canceled_row_is_completed_by_what_its_attempt_had_and_only_by_that(ground: Ground) -> None:
    rows = ground.rows("a")
    canceled, running, lost = [await claimed(rows, ground.insert(user_id=ground.user())) for _ in range(3)]
    ground.end_lease(lost.id)
    await claimed(ground.rows("b"), lost.id)
    await rows.checkpoint(Checkpoint(canceled.id, 1, "Beca"))
    for work in (canceled, lost):
        ground.cancel(work.id)
    assert canceled.first_call is not None
    closing = Closing(canceled.first_call.id, "failed", MODEL, None, 1, tokens_in=7, tokens_out=2)
    kept = [
        await rows.keep_canceled(Canceled(canceled.id, 1, "Because of", (closing,))),
        await rows.keep_canceled(Canceled(canceled.id, 1, "Another", (closing,))),
        await rows.keep_canceled(Canceled(canceled.id, 1, "Be", (closing,))),
        await rows.keep_canceled(Canceled(running.id, 1, "Be", ())),
        await rows.keep_canceled(Canceled(lost.id, 1, "Be", ())),
    ]
    assert kept == [True, True, True, False, False]
    stored = ground.stored(canceled.id)
    assert (stored.status, stored.answer, stored.tokens_in) == ("canceled", "Because of", 7)
    assert [(call.status, call.tokens_in) for call in ground.calls(canceled.id)] == [("failed", 7)]
    assert [ground.stored(work.id).answer for work in (running, lost)] == [None, None]


async def test_a_renewal_names_every_row_that_is_held_and_none_that_was_settled_or_deleted(ground: Ground) -> None:
    rows = ground.rows("a")
    assert list(rows.renew()) == []
    works = [await claimed(rows, ground.insert()) for _ in range(4)]
    await rows.end(ended(works[0]))
    await rows.release(Requeued(works[1].id, 1, ()))
    ground.delete(works[2].id)
    assert list(rows.renew()) == [Lease(works[3].id, 1, "held")]


# Checkpoints


async def test_a_checkpoint_is_kept_for_clients_that_lost_the_stream(ground: Ground) -> None:
    id = ground.insert()
    rows = ground.rows("a")
    work = await claimed(rows, id)
    assert await rows.checkpoint(Checkpoint(id, work.attempt, "Be"))
    assert await rows.checkpoint(Checkpoint(id, work.attempt, "Becau"))
    assert ground.stored(id).partial == "Becau"


async def test_of_two_checkpoints_that_meet_the_later_stays(ground: Ground) -> None:
    id = ground.insert()
    rows = ground.rows("a")
    await claimed(rows, id)
    assert await asyncio.gather(*(rows.checkpoint(Checkpoint(id, 1, "x" * n)) for n in (1, 2, 3))) == [True] * 3
    assert ground.stored(id).partial == "xxx"


# Ending


async def test_finishing_writes_the_answer_and_books_the_calls(ground: Ground) -> None:
    id = ground.insert()
    rows = ground.rows("a")
    work = await claimed(rows, id)
    assert work.first_call is not None
    second = await rows.open_call(work, Opening("rerank", MODEL))
    finished = Finished(answer="Because.", output={"n": 1}, citations=({"chunk_id": 3},), route="fast")
    calls = (closing(work.first_call.id), replace(closing(second, tokens_in=None, cost_usd=None), route=None))
    now = datetime.now(UTC)
    assert await rows.end(Ended(id, work.attempt, "succeeded", finished, None, calls, now))
    assert ground.stored(id) == Stored(
        "succeeded", 1, 1, "Because.", {"n": 1}, tokens_in=7, cost_usd=0.25, outcomes=("succeeded",)
    )
    assert ground.calls(id) == [StoredCall("embed", "succeeded", 7), StoredCall("rerank", "succeeded", None)]


async def test_numbers_that_nobody_knows_stay_unknown(ground: Ground) -> None:
    rows = ground.rows("a")
    work = await claimed(rows, ground.insert())
    await rows.end(ended(work))
    stored = ground.stored(work.id)
    assert (stored.tokens_in, stored.cost_usd) == (None, None)


@pytest.mark.parametrize("status", ["failed", "refused"])
async def test_a_row_that_ends_without_an_answer_says_why(ground: Ground, status: str) -> None:
    rows = ground.rows("a")
    work = await claimed(rows, ground.insert())
    assert await rows.end(Ended(work.id, 1, "failed" if status == "failed" else "refused", None, ERROR, ()))
    stored = ground.stored(work.id)
    assert (stored.status, stored.answer, stored.error) == (status, None, ERROR)


async def test_a_stale_attempt_changes_nothing_but_the_ledger(ground: Ground) -> None:
    id = ground.insert()
    first, second = ground.rows("a"), ground.rows("b")
    stale = await claimed(first, id)
    assert stale.first_call is not None
    ground.end_lease(id)
    await claimed(second, id)
    before = ground.stored(id)
    closings = (closing(stale.first_call.id),)
    assert not await first.checkpoint(Checkpoint(id, stale.attempt, "old"))
    assert not await first.end(ended(stale, "old", closings))
    assert not await first.retry(Requeued(id, stale.attempt, closings, 0.0, ERROR))
    assert not await first.release(Requeued(id, stale.attempt, closings))
    with pytest.raises(AttemptLost):
        await first.open_call(stale, Opening("answer", MODEL))
    assert ground.stored(id) == before
    assert sorted(call.status for call in ground.calls(id)) == ["open", "succeeded"]


async def test_a_call_that_the_write_back_does_not_name_is_left_open_by_nobody(ground: Ground) -> None:
    """The reply that told its id was lost, say: it was never made."""
    for write_back in ("end", "retry"):
        id = ground.insert()
        rows = ground.rows("a")
        work = await claimed(rows, id)
        call_id = await rows.open_call(work, Opening("answer", MODEL))
        calls = (closing(call_id),)
        if write_back == "end":
            assert await rows.end(ended(work, calls=calls))
        else:
            assert await rows.retry(Requeued(id, work.attempt, calls))
        statuses = {call.purpose: call.status for call in ground.calls(id)}
        assert statuses == {"embed": "abandoned", "answer": "succeeded"}


async def test_the_calls_of_a_lost_attempt_are_booked_apart(ground: Ground) -> None:
    id = ground.insert(user_id=ground.user())
    rows = ground.rows("a")
    work = await claimed(rows, id)
    ground.cancel(id)
    assert work.first_call is not None
    await rows.close_calls(())
    assert ground.calls(id) == [StoredCall("embed", "abandoned")]
    for tokens_in in (7, 9):  # a call is closed once
        await rows.close_calls((closing(work.first_call.id, tokens_in=tokens_in),))
    assert ground.calls(id) == [StoredCall("embed", "succeeded", 7)]
    with pytest.raises(Permanent):
        await rows.close_calls((closing(work.first_call.id, tokens_in=2**31),))


async def test_an_end_that_comes_twice_is_accepted_once(ground: Ground) -> None:
    rows = ground.rows("a")
    work = await claimed(rows, ground.insert())
    assert work.first_call is not None
    row = ended(work, calls=(closing(work.first_call.id),))
    assert sorted(await asyncio.gather(rows.end(row), rows.end(row))) == [False, True]
    assert not await rows.end(ended(work, "another"))
    assert ground.stored(work.id).answer == "Because."


async def test_a_bad_row_in_a_batch_leaves_the_others(ground: Ground) -> None:
    rows = ground.rows("a")
    works = [await claimed(rows, ground.insert()) for _ in range(9)]
    bad = works[4]
    assert bad.first_call is not None
    too_many = (closing(bad.first_call.id, tokens_in=2**31),)
    endings = [ended(work, calls=too_many if work is bad else ()) for work in works]
    results = await asyncio.gather(*(rows.end(row) for row in endings), return_exceptions=True)
    assert isinstance(results.pop(4), Unsettleable)
    assert results == [True] * 8
    assert ground.stored(bad.id).status == "running"
    assert await rows.end(Ended(bad.id, bad.attempt, "failed", None, ERROR, ()))


@pytest.mark.parametrize("output", [{"n": math.nan}, {"when": datetime(2026, 1, 1, tzinfo=UTC)}, {"n": {1, 2}}])
async def test_what_is_no_json_is_unsettleable(ground: Ground, output: dict[str, object]) -> None:
    rows = ground.rows("a")
    work = await claimed(rows, ground.insert())
    with pytest.raises(Unsettleable, match="no JSON"):
        await rows.end(Ended(work.id, 1, "succeeded", Finished(output=output), None, ()))
    assert ground.stored(work.id).status == "running"


async def test_text_that_postgres_cannot_hold_is_mended_and_costs_no_answer(ground: Ground) -> None:
    rows = ground.rows("a")
    work = await claimed(rows, ground.insert())
    assert await rows.checkpoint(Checkpoint(work.id, 1, "a\0"))
    assert ground.stored(work.id).partial == "a\ufffd"
    finished = Finished(answer="a\0b\ud83d", citations=({"quote": "\0"},))
    assert await rows.end(Ended(work.id, 1, "succeeded", finished, None, ()))
    assert ground.stored(work.id).answer == "a\ufffdb\ufffd"


# Sending back


async def test_a_retry_queues_the_row_again_after_its_wait(ground: Ground) -> None:
    rows = ground.rows("a")
    id = ground.insert()
    work = await claimed(rows, id)
    assert work.first_call is not None
    assert await rows.retry(Requeued(id, 1, (closing(work.first_call.id),), 3600.0, ERROR))
    assert ground.stored(id) == Stored("queued", 1, 1, error=ERROR, outcomes=("retried",))
    assert ground.calls(id) == [StoredCall("embed", "succeeded", 7)]
    assert await rows.claim(id) is None
    ground.come_due(id)
    work = await claimed(rows, id)
    assert (work.attempt, work.tries) == (2, 2)
    assert ground.stored(id).error is None


async def test_a_release_gives_the_try_back_and_the_row_may_run_at_once(ground: Ground) -> None:
    first, second = ground.rows("a"), ground.rows("b")
    id = ground.insert()
    await claimed(first, id)
    assert await first.release(Requeued(id, 1, ()))
    assert ground.stored(id) == Stored("queued", 1, 0, outcomes=("released",))
    work = await claimed(second, id)
    assert (work.attempt, work.tries) == (2, 1)


# The sweep and the ledger


async def test_due_lists_exactly_what_should_be_in_the_queue(ground: Ground) -> None:
    rows = ground.rows("a")
    queued, later, running, orphaned, finished, canceled = (
        ground.insert(run_in_s=60 * (n == 1), user_id=ground.user()) for n in range(6)
    )
    for id in (running, orphaned):
        await claimed(rows, id)
    ground.end_lease(orphaned)
    await rows.end(ended(await claimed(rows, finished)))
    ground.cancel(canceled)
    hints = {due.hint.id: due.hint for due in await all_due(rows)}
    assert {queued, orphaned} <= hints.keys()
    assert not {later, running, finished, canceled} & hints.keys()
    assert (hints[queued].attempt, hints[orphaned].attempt) == (0, 1)
    assert (hints[queued].kind, hints[queued].lane) == ("answer", "interactive")
    assert hints[queued].tenant is not None


async def test_due_leaves_young_rows_alone(ground: Ground) -> None:
    rows = ground.rows("a")
    ids = {ground.insert() for _ in range(3)}
    young = await rows.due(grace_s=3600.0, max_rows=10_000)
    assert not ids & {due.hint.id for due in young}


async def test_due_goes_through_all_rows_page_by_page_those_due_longest_first(ground: Ground) -> None:
    rows = ground.rows("a")
    ids = [ground.insert(run_in_s=-60.0 * n) for n in range(4)]
    await claimed(rows, ids[1])
    ground.end_lease(ids[1])
    found = await all_due(rows)
    assert len({due.hint.id for due in found}) == len(found)
    assert [due.hint.id for due in found if due.hint.id in {ids[0], ids[2], ids[3]}] == [ids[3], ids[2], ids[0]]
    assert ids[1] in {due.hint.id for due in found}
    moments = [due.at for due in found]
    assert moments == sorted(moments)


async def all_due(rows: Rows) -> list[Due]:
    """By pages of three; other tests' rows are among them."""
    found: list[Due] = []
    while page := await rows.due(grace_s=0.0, max_rows=3, after=found[-1] if found else None):
        assert len(page) <= 3
        found += page
    return found


async def test_ledger_rows_that_are_opened_together_go_to_their_own_generations(ground: Ground) -> None:
    rows = ground.rows("a", opens={})
    works = [await claimed(rows, ground.insert()) for _ in range(6)]
    models = [ModelName("p", f"m{n}") for n in range(6)]
    openings = zip(works, models, strict=True)
    ids = await asyncio.gather(
        *(rows.open_call(work, Opening(f"step_{model.model}", model)) for work, model in openings)
    )
    assert len(set(ids)) == 6
    for work, model in zip(works, models, strict=True):
        assert ground.calls(work.id) == [StoredCall(f"step_{model.model}", "open")]


async def test_a_call_cannot_be_opened_for_a_row_that_ended_though_others_in_the_batch_can(ground: Ground) -> None:
    rows = ground.rows("a")
    done, running = [await claimed(rows, ground.insert()) for _ in range(2)]
    await rows.end(ended(done))
    opening = Opening("answer", MODEL)
    results = await asyncio.gather(
        rows.open_call(done, opening), rows.open_call(running, opening), return_exceptions=True
    )
    assert isinstance(results[0], AttemptLost)
    assert isinstance(results[1], str)
