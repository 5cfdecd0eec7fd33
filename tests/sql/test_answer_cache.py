"""Which answers are given again: never across a tenant, to somebody who may not read, or after a document changed."""

from typing import Any

import pytest

from tests.sql.session import Session, User, jsonb, vector
from tests.sql.test_context import APPROXIMATE, EXACT, MODEL, document
from tests.sql.verbs import ERROR, claim, end_lease, finish, running

SCOPE = "0123456789abcdef"


def chunk_ids(sql: Session, document_id: str) -> list[int]:
    return sql.column("select id from rowcall.chunks where document_id = %s order by ordinal", document_id)


def answered(sql: Session, user: User | None, chunks: list[int], **entry: Any) -> str:
    """A generation of the user's that has ended with an answer that may be given again."""
    columns, cost_usd = entry.pop("columns", {}), entry.pop("cost_usd", 0.5)
    id = running(sql, user, **columns)
    took = [("embed", None, 20, 0, 0.01), ("rerank", None, 5000, 0, None), ("answer", "default", 100, 10, cost_usd)]
    opens = [jsonb({"generation_id": id, "attempt": 1, "purpose": p, "route": route}) for p, route, *_ in took]
    calls = [
        {"id": str(call_id), "status": "succeeded", "tokens_in": sent, "tokens_out": wrote, "cost_usd": usd}
        for call_id, (*_, sent, wrote, usd) in zip(
            sql.column("select call_id from rowcall.open_calls_v3(%s::jsonb[])", opens), took, strict=True
        )
    ]
    reusable = {
        "scope": SCOPE,
        "question_key": f"key of {id}",
        "question": "why?",
        "embedding": vector(1),
        "embedding_model": MODEL,
        "chunk_ids": chunks,
        "seen_chunk_ids": chunks,
        "ttl_s": 60,
        "stale_s": 60,
        **entry,
    }
    result = {"id": id, "attempt": 1, "status": "succeeded", "answer": "since", "citations": [{"number": 1}]}
    used = {"tokens_in": 5120, "tokens_out": 10, "cost_usd": 0.51, "calls": calls}
    (told,) = finish(sql, {**result, **used, "reusable": reusable})
    assert told["accepted"], told
    return id


def offered(
    sql: Session, user: User | None, scope: str | None = SCOPE, *, exact_up_to: int = EXACT, **columns: Any
) -> list[dict[str, Any]]:
    """What a new question of the user's is offered."""
    id = running(sql, user, **columns)
    call = "rowcall.context_v4(%s, 1, 'why?', %s, %s, cache_scope => %s, exact_up_to => %s)"
    found = sql.value(f"select {call}", id, vector(1, 0.1), MODEL, scope, exact_up_to)
    cached: list[dict[str, Any]] = found["cached"]
    return cached


def shared(sql: Session) -> str:
    """A document that everybody who is signed in may read while its metadata says so."""
    sql.as_postgres()
    sql.run(
        """create policy shared on rowcall.documents for select to authenticated
             using (metadata ->> 'shared' = 'yes')"""
    )
    return document(sql, None, "one", "two", metadata={"shared": "yes"})


def test_what_an_answer_took_is_unknown_where_its_price_is(sql: Session) -> None:
    user = sql.new_user()
    answered(sql, user, chunk_ids(sql, document(sql, user, "one")), cost_usd=None)
    (cached,) = offered(sql, user)
    assert (cached["tokens_in"], cached["cost_usd"]) == (100, None)


def test_an_answer_is_offered_with_what_the_model_took_that_wrote_it(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one", "two"))
    answered(sql, user, chunks)
    (cached,) = offered(sql, user)
    assert (cached["answer"], cached["citations"], cached["is_fresh"]) == ("since", [{"number": 1}], True)
    assert (cached["tokens_in"], cached["tokens_out"], cached["cost_usd"]) == (100, 10, 0.5)
    assert cached["chunk_ids"] == chunks
    assert cached["similarity"] == pytest.approx(1 / (1 + 0.1**2) ** 0.5)


def test_it_stays_within_its_tenant_and_scope(sql: Session) -> None:
    chunks = chunk_ids(sql, shared(sql))
    alice, colleague, stranger = (sql.new_user(tenant_id=name) for name in ("acme", "acme", "other"))
    answered(sql, alice, chunks, columns={"tenant": "acme"})
    assert len(offered(sql, colleague, tenant="acme")) == 1
    assert offered(sql, stranger, tenant="other") == []
    assert offered(sql, colleague, "another scope", tenant="acme") == []
    assert offered(sql, colleague, None, tenant="acme") == []


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_nobody_is_told_of_a_chunk_that_he_may_not_read(sql: Session, exact_up_to: int) -> None:
    alice, colleague = sql.new_user(tenant_id="acme"), sql.new_user(tenant_id="acme")
    public, private = chunk_ids(sql, shared(sql)), chunk_ids(sql, document(sql, alice, "of alice"))
    answered(sql, alice, public + private, columns={"tenant": "acme"})
    assert len(offered(sql, alice, exact_up_to=exact_up_to, tenant="acme")) == 1
    assert offered(sql, colleague, exact_up_to=exact_up_to, tenant="acme") == []


def test_who_may_no_longer_read_is_no_longer_told(sql: Session) -> None:
    user = sql.new_user()
    id = shared(sql)
    answered(sql, user, chunk_ids(sql, id))
    assert len(offered(sql, user)) == 1
    sql.as_postgres()
    sql.run("drop policy shared on rowcall.documents")
    assert offered(sql, user) == []


def test_a_change_of_the_document_ends_it_until_the_ingest_confirms_every_chunk(sql: Session) -> None:
    user = sql.new_user()
    id = document(sql, user, "one", "two")
    answered(sql, user, chunk_ids(sql, id))
    sql.run("update rowcall.documents set content = 'changed' where id = %s", id)
    assert offered(sql, user) == []
    sql.run("update rowcall.chunks set revision = 2 where document_id = %s and ordinal = 0", id)
    assert offered(sql, user) == []
    sql.run("update rowcall.chunks set revision = 2 where document_id = %s", id)
    assert len(offered(sql, user)) == 1
    sql.run("delete from rowcall.chunks where document_id = %s and ordinal = 1", id)
    assert offered(sql, user) == []


def test_a_question_with_history_is_offered_nothing_and_leaves_nothing(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    input = {"question": "why?", "history": [{"role": "user", "content": "before"}]}
    answered(sql, user, chunks, columns={"input": input})
    assert offered(sql, user) == []
    answered(sql, user, chunks)
    assert offered(sql, user, input=input) == []
    assert len(offered(sql, user)) == 1


def test_it_grows_stale_and_then_goes(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    answered(sql, user, chunks, ttl_s=0, stale_s=60)
    (cached,) = offered(sql, user)
    assert not cached["is_fresh"]
    sql.run("update rowcall.answer_cache set expires_at = now() - interval '1 s'")
    assert offered(sql, user) == []


def test_an_answer_without_a_chunk_is_offered_to_nobody(sql: Session) -> None:
    user = sql.new_user()
    answered(sql, user, [])
    assert offered(sql, user) == []


def test_what_examples_of_its_own_shaped_is_private_to_the_first_asker(sql: Session) -> None:
    chunks = chunk_ids(sql, shared(sql))
    alice, colleague = sql.new_user(tenant_id="acme"), sql.new_user(tenant_id="acme")
    answered(sql, alice, chunks, columns={"tenant": "acme"}, had_examples=True)
    assert [cached["is_private"] for cached in offered(sql, alice, tenant="acme")] == [False]
    assert [cached["is_private"] for cached in offered(sql, colleague, tenant="acme")] == [True]


def test_a_bad_rating_ends_it_where_it_was_made_and_where_it_was_given_again(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    first = answered(sql, user, chunks)
    with sql.undone():
        sql.run("insert into rowcall.feedback (generation_id, user_id, rating) values (%s, %s, -1)", first, user.id)
        assert offered(sql, user) == []
    (cached,) = offered(sql, user)
    again = running(sql, user)
    sql.run(
        """insert into rowcall.calls (generation_id, kind, attempt, purpose, reused_id)
           values (%s, 'answer', 1, 'cache', %s)""",
        again,
        cached["id"],
    )
    assert len(offered(sql, user)) == 1
    sql.run("insert into rowcall.feedback (generation_id, user_id, rating) values (%s, %s, -1)", again, user.id)
    assert offered(sql, user) == []


def test_erasing_the_generation_or_the_user_erases_the_answer(sql: Session) -> None:
    chunks = chunk_ids(sql, shared(sql))
    user, other = sql.new_user(tenant_id="acme"), sql.new_user(tenant_id="acme")
    first = answered(sql, user, chunks, columns={"tenant": "acme"})
    answered(sql, other, chunks, columns={"tenant": "acme"})
    sql.as_user(user)
    assert sql.value("select rowcall.delete_generation(%s)", first)
    assert len(offered(sql, user, tenant="acme")) == 1
    sql.as_postgres()
    sql.run("delete from auth.users where id = %s", other.id)
    assert offered(sql, user, tenant="acme") == []


def test_only_the_newest_answers_of_a_scope_are_kept(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    sql.run("update rowcall.limits set value = 2 where name = 'cached_answers_per_scope'")
    for key in "abc":
        answered(sql, user, chunks, question_key=key)
    answered(sql, user, chunks, question_key="d", scope="another")
    kept = sql.column("select question_key from rowcall.answer_cache where tenant = %s order by 1", user.id)
    assert kept == ["b", "c", "d"]


def test_the_same_question_again_takes_the_place_of_its_answer(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    answered(sql, user, chunks, question_key="same", ttl_s=0)
    newer = answered(sql, user, chunks, question_key="same")
    (entry,) = sql.all("select * from rowcall.answer_cache where tenant = %s", user.id)
    assert str(entry["generation_id"]) == newer
    assert [cached["is_fresh"] for cached in offered(sql, user)] == [True]


def test_an_answer_that_cannot_be_cached_is_given_all_the_same(sql: Session) -> None:
    user = sql.new_user()
    id = answered(sql, user, [1], embedding="[1]")
    assert sql.value("select status from rowcall.generations where id = %s", id) == "succeeded"
    assert sql.value("select count(*) from rowcall.answer_cache where tenant = %s", user.id) == 0


def test_what_did_not_end_well_is_not_cached(sql: Session) -> None:
    user = sql.new_user()
    id = running(sql, user)
    finish(sql, {"id": id, "attempt": 1, "status": "failed", "error": ERROR})
    sql.run("select rowcall.remember_answers(%s::jsonb[])", [jsonb({"id": id, "question_key": "k"})])
    assert sql.value("select count(*) from rowcall.answer_cache where tenant = %s", user.id) == 0


def test_an_entry_that_cannot_be_kept_is_told_and_leaves_its_answer_and_the_other_entries(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    good, bad = running(sql, user), running(sql, user)
    entry = {"scope": SCOPE, "question": "?", "embedding_model": MODEL, "chunk_ids": chunks, "seen_chunk_ids": chunks}
    results = [
        {"id": id, "attempt": 1, "status": "succeeded", "answer": "since", "reusable": entry | own}
        for id, own in (
            (good, {"question_key": "good", "embedding": vector(1), "ttl_s": 60, "stale_s": 60}),
            (bad, {"question_key": "bad", "embedding": "[1,2]", "ttl_s": 60, "stale_s": 60}),
        )
    ]
    told = finish(sql, *results)
    assert all(row["accepted"] and row["problem"] is None for row in told)
    uncached = {str(row["id"]): row["uncached"] for row in told}
    assert uncached[good] is None
    assert "expected 384 dimensions" in uncached[bad]
    assert sql.column("select question_key from rowcall.answer_cache where generation_id is not null") == ["good"]
    assert sql.column("select distinct status from rowcall.generations where id::text = any (%s)", [good, bad]) == [
        "succeeded"
    ]


def test_of_two_attempts_of_a_row_in_one_batch_the_one_that_runs_is_settled_and_kept(sql: Session) -> None:
    user = sql.new_user()
    chunks = chunk_ids(sql, document(sql, user, "one"))
    id = running(sql, user)
    end_lease(sql, id)
    assert [work["attempt"] for work in claim(sql, id)] == [2]
    entry = {"scope": SCOPE, "question_key": "k", "question": "?", "embedding": "[1]", "chunk_ids": chunks}
    results = [{"id": id, "attempt": n, "status": "succeeded", "answer": f"by {n}", "reusable": entry} for n in (1, 2)]
    told = sorted(finish(sql, *results), key=lambda row: row["attempt"])
    assert [(row["attempt"], row["accepted"], row["uncached"] is None) for row in told] == [
        (1, False, True),
        (2, True, False),
    ]
    assert sql.value("select answer from rowcall.generations where id = %s", id) == "by 2"


def everything(sql: Session) -> list[int]:
    tables = ("answer_cache", "generations", "calls", "documents", "chunks")
    return [sql.value(f"select count(*) from rowcall.{table}") for table in tables]


def test_a_drill_is_offered_its_own_entry_and_leaves_nothing_behind(sql: Session) -> None:
    document(sql, sql.new_user(), "one")
    sql.as_service()
    before = everything(sql)
    told = sql.value("select rowcall.drill_cached_answer_v1()")
    assert (told["problem"], told["cached"]["answer"], told["cached"]["is_fresh"]) == (None, "Yes.", False)
    assert everything(sql) == before
    assert sql.value("select current_user") == "service_role"


def test_a_drill_says_so_where_a_policy_would_let_anybody_read_or_nobody(sql: Session) -> None:
    document(sql, sql.new_user(), "one")
    with sql.undone():
        sql.as_postgres()
        sql.run("create policy everybody on rowcall.documents for select to anon using (true)")
        sql.as_service()
        told = sql.value("select rowcall.drill_cached_answer_v1()")
        assert told == {"cached": None, "problem": "the entry was offered to one who may not read its passage"}
    sql.as_postgres()
    sql.run("create policy nobody on rowcall.documents as restrictive for select to authenticated using (false)")
    sql.as_service()
    assert sql.value("select rowcall.drill_cached_answer_v1()")["problem"] == "its owner was not offered the entry"


def test_without_a_passage_there_is_nothing_to_drill_with(sql: Session) -> None:
    sql.as_service()
    sql.run("delete from rowcall.documents")
    told = sql.value("select rowcall.drill_cached_answer_v1()")
    assert (told["cached"], "no document is ingested" in told["problem"]) == (None, True)
