"""Well-rated answers become examples of who asked: which do, who sees them, and what takes them away."""

from typing import Any

import pytest

from tests.sql.session import Session, User, jsonb, vector
from tests.sql.test_answer_cache import chunk_ids, shared
from tests.sql.test_context import MODEL, document
from tests.sql.verbs import claim, finish, running

LONG_AGO = "2000-01-01"


def answered(sql: Session, user: User, chunks: list[int], *, question: str = "why?", **result: Any) -> str:
    """A generation of the user's that has ended; the service asks afterwards."""
    columns = result.pop("columns", {})
    id = running(sql, user, input={"question": question, **columns})
    citations = [{"number": n, "chunk_id": chunk} for n, chunk in enumerate(chunks, 1)]
    ended = {"id": id, "attempt": 1, "status": "succeeded", "answer": "since [1]", "citations": citations, **result}
    (told,) = finish(sql, ended)
    assert told["accepted"], told
    return id


def rate(sql: Session, user: User, id: str, rating: int = 1) -> None:
    """As a client's upsert; the service asks afterwards."""
    sql.as_user(user)
    sql.run(
        """insert into rowcall.feedback (generation_id, rating) values (%s, %s)
           on conflict (generation_id, user_id) do update
              set generation_id = excluded.generation_id, rating = excluded.rating""",
        id,
        rating,
    )
    sql.as_service()


def promote(sql: Session, since: str = LONG_AGO) -> dict[str, str | None]:
    """By generation, why it makes no example; None: it does."""
    found = sql.all("select generation_id::text, problem from rowcall.promote_examples_v1(%s)", since)
    return {row["generation_id"]: row["problem"] for row in found}


def examples(sql: Session, user: User) -> list[str]:
    """The questions of those that the user may see; the service asks afterwards."""
    sql.as_user(user)
    found = sql.column("select question from rowcall.examples order by id")
    sql.as_service()
    return found


def reader(sql: Session) -> tuple[User, list[int]]:
    user = sql.new_user()
    return user, chunk_ids(sql, document(sql, user, "one", "two"))


def learned(sql: Session) -> list[dict[str, Any]]:
    """Every example that lacks a vector gets one, as the worker does it; the generations that did it."""
    made = sql.all("select generation_id::text as id, problem from rowcall.learn_examples_v1(%s)", MODEL)
    for learning in made:
        assert learning["problem"] is None, learning
        (work,) = claim(sql, learning["id"])
        read = sql.value("select rowcall.read_example_v1(%s, 1)", work["id"])
        if read is not None:
            sql.value("select rowcall.store_example_v1(%s, 1, %s, %s)", work["id"], vector(1), MODEL)
        finish(sql, {"id": learning["id"], "attempt": 1, "status": "succeeded"})
    return made


def shown(sql: Session, user: User, **columns: Any) -> list[str]:
    """The questions of the examples that a new question of the user's would see."""
    id = running(sql, user, **columns)
    found = sql.value("select rowcall.context_v4(%s, 1, 'why?', %s, %s, max_examples => 10)", id, vector(1, 0.1), MODEL)
    return [example["question"] for example in found["examples"]]


def test_an_answer_that_its_owner_rates_up_is_shown_beside_that_owner_s_questions_alone(sql: Session) -> None:
    sql.as_postgres()
    chunks = chunk_ids(sql, shared(sql))
    alice, colleague, stranger = (sql.new_user(tenant_id=name) for name in ("acme", "acme", "other"))
    id = answered(sql, alice, chunks)
    rate(sql, alice, id)
    assert promote(sql) == {id: None}
    assert shown(sql, alice) == []  # no vector yet
    (learning,) = learned(sql)
    assert sql.one("select kind, user_id::text, lane from rowcall.generations where id = %s", learning["id"]) == {
        "kind": "learn_example",
        "user_id": alice.id,
        "lane": "bulk",
    }
    assert shown(sql, alice, tenant="acme") == ["why?"]
    for other in (colleague, stranger):
        assert examples(sql, other) == []
        assert shown(sql, other, tenant=other.app_metadata["tenant_id"]) == []


def test_promoting_and_learning_again_change_nothing(sql: Session) -> None:
    user, chunks = reader(sql)
    id = answered(sql, user, chunks)
    rate(sql, user, id)
    assert promote(sql) == {id: None}
    assert promote(sql) == {}
    assert len(sql.all("select * from rowcall.learn_examples_v1(%s)", MODEL)) == 1
    (again,) = sql.all("select generation_id from rowcall.learn_examples_v1(%s)", MODEL)
    assert sql.column("select id from rowcall.generations where kind = 'learn_example'") == [again["generation_id"]]
    assert examples(sql, user) == ["why?"]


@pytest.mark.parametrize(
    ("problem", "result"),
    [
        ("has not succeeded", {"status": "refused"}),
        ("has not succeeded", {"error": {"code": "target.failed", "message": "no"}}),
        ("a history or a filter", {"columns": {"history": [{"role": "user", "content": "hm"}]}}),
        ("a history or a filter", {"columns": {"filter": {"metadata": {}}}}),
        ("carries a warning", {"output": {"warnings": ["route.fell_back: strong answered"]}}),
        ("cites nothing", {"citations": []}),
        ("too long", {"answer": "since " * 400}),
        ("has changed", {"citations": [{"number": 1, "chunk_id": 0}]}),
    ],
)
def test_what_is_no_good_example_is_left_out_with_its_reason(
    sql: Session, problem: str, result: dict[str, Any]
) -> None:
    user, chunks = reader(sql)
    id = answered(sql, user, chunks, **result)
    rate(sql, user, id)
    told = promote(sql)[id]
    assert told is not None
    assert problem in told
    assert examples(sql, user) == []


def test_the_same_question_makes_one_example_whatever_its_case_and_spaces(sql: Session) -> None:
    user, chunks = reader(sql)
    ids = [answered(sql, user, chunks, question=question) for question in ("Why is that?", "  why is\nTHAT? ", "How?")]
    for id in ids:
        rate(sql, user, id)
    told = promote(sql)
    assert sorted(told) == sorted(ids)
    assert sorted(problem or "" for problem in told.values()) == ["", "", "there is an example with the same question"]
    other, chunks = reader(sql)
    same = answered(sql, other, chunks, question="why is that?")
    rate(sql, other, same)
    assert promote(sql)[same] is None


def test_ratings_of_before_then_are_left_alone(sql: Session) -> None:
    user, chunks = reader(sql)
    id = answered(sql, user, chunks)
    rate(sql, user, id)
    assert promote(sql, since="2100-01-01") == {}
    assert promote(sql) == {id: None}


def test_no_owner_gets_more_than_the_limit(sql: Session) -> None:
    user, chunks = reader(sql)
    sql.run("update rowcall.limits set value = 1 where name = 'examples_per_owner'")
    for question in ("Why?", "How?"):
        rate(sql, user, answered(sql, user, chunks, question=question))
    assert sorted(str(problem) for problem in promote(sql).values()) == [
        "None",
        "its owner has enough of them (rowcall.limits examples_per_owner)",
    ]


@pytest.mark.parametrize("how", ["deleted", "rated down"])
def test_a_rating_that_is_taken_back_takes_the_example_away_and_a_new_one_brings_it_back(
    sql: Session, how: str
) -> None:
    user, chunks = reader(sql)
    id = answered(sql, user, chunks)
    rate(sql, user, id)
    promote(sql)
    if how == "deleted":
        sql.as_user(user)
        sql.run("delete from rowcall.feedback where generation_id = %s", id)
    else:
        rate(sql, user, id, -1)
    assert examples(sql, user) == []
    assert promote(sql) == {}
    rate(sql, user, id)
    assert promote(sql) == {id: None}
    assert examples(sql, user) == ["why?"]


def test_a_comment_alone_changes_nothing(sql: Session) -> None:
    user, chunks = reader(sql)
    id = answered(sql, user, chunks)
    rate(sql, user, id)
    promote(sql)
    sql.as_user(user)
    sql.run("update rowcall.feedback set comment = 'good', rating = 1 where generation_id = %s", id)
    assert examples(sql, user) == ["why?"]
    assert promote(sql) == {}


def test_the_row_and_the_user_take_their_examples_with_them(sql: Session) -> None:
    user, chunks = reader(sql)
    first, second = (answered(sql, user, chunks, question=question) for question in ("Why?", "How?"))
    for id in (first, second):
        rate(sql, user, id)
    promote(sql)
    sql.as_user(user)
    assert sql.value("select rowcall.delete_generation(%s)", first)
    assert examples(sql, user) == ["How?"]
    sql.as_postgres()
    sql.run("delete from auth.users where id = %s", user.id)
    assert sql.value("select count(*) from rowcall.examples where user_id = %s", user.id) == 0


def test_a_passage_that_goes_takes_the_examples_that_cite_it(sql: Session) -> None:
    user, chunks = reader(sql)
    of_one, of_both = answered(sql, user, chunks[:1], question="One?"), answered(sql, user, chunks, question="Both?")
    for id in (of_one, of_both):
        rate(sql, user, id)
    promote(sql)
    sql.run("delete from rowcall.chunks where id = %s", chunks[1])
    assert examples(sql, user) == ["One?"]
    assert promote(sql) == {}
    sql.as_user(user)
    sql.run("delete from rowcall.documents")
    assert examples(sql, user) == []


def test_what_the_owner_may_no_longer_read_is_not_learned(sql: Session) -> None:
    chunks = chunk_ids(sql, shared(sql))
    user = sql.new_user()
    id = answered(sql, user, chunks)
    rate(sql, user, id)
    assert promote(sql) == {id: None}
    sql.as_postgres()
    sql.run("update rowcall.documents set metadata = '{}'")
    sql.as_service()
    learned(sql)
    assert sql.column("select embedding_model from rowcall.examples where generation_id = %s", id) == [None]


def test_a_colleague_s_rating_makes_no_example_and_a_bad_one_takes_it_away(sql: Session) -> None:
    sql.as_postgres()
    sql.run("create policy everybody on rowcall.generations for select to authenticated using (true)")
    (user, chunks), colleague = reader(sql), sql.new_user()
    id = answered(sql, user, chunks)
    rate(sql, colleague, id)
    assert promote(sql) == {}
    rate(sql, user, id)
    assert promote(sql) == {id: None}
    assert examples(sql, colleague) == []
    rate(sql, colleague, id, -1)
    assert examples(sql, user) == []


def test_what_an_operator_removes_stays_away(sql: Session) -> None:
    user, chunks = reader(sql)
    rate(sql, user, answered(sql, user, chunks))
    promote(sql)
    (listed,) = [row for row in sql.all("select * from rowcall.examples_v1()") if str(row["user_id"]) == user.id]
    assert (listed["characters"], listed["embedding_model"]) == (len("why?since [1]"), None)
    assert sql.column("select * from rowcall.remove_examples_v1(%s)", [listed["id"]]) == [listed["id"]]
    assert promote(sql) == {}
    assert examples(sql, user) == []


def test_an_example_that_somebody_wrote_is_learned_in_its_owner_s_name_or_its_document_s(sql: Session) -> None:
    user, _ = reader(sql)
    of_document = sql.value("select id from rowcall.documents where user_id = %s", user.id)
    sql.run(
        """insert into rowcall.examples (user_id, document_id, question, answer)
           values (%s, null, 'Mine?', 'Yes.'),
                  (null, %s, 'Of the page?', 'Yes.'), (null, null, 'Nobody''s?', 'Yes.')""",
        user.id,
        of_document,
    )
    problems = sql.column("select problem from rowcall.learn_examples_v1(%s) order by 1", MODEL)
    assert problems == ["it is nobody's", None, None]
    made = sql.all(
        """select e.question, g.user_id::text from rowcall.examples e
             left join rowcall.generations g on g.id = e.learned_by where e.answer = 'Yes.' order by 1"""
    )
    assert [(row["question"], row["user_id"]) for row in made] == [
        ("Mine?", user.id),
        ("Nobody's?", None),
        ("Of the page?", user.id),
    ]


def test_a_tenant_that_has_spent_its_budget_learns_tomorrow(sql: Session) -> None:
    user, chunks = reader(sql)
    rate(sql, user, answered(sql, user, chunks))
    promote(sql)
    sql.run(
        "insert into rowcall.spend (tenant, day, cost_usd) values (%s, (now() at time zone 'utc')::date, 1000)", user.id
    )
    (told,) = sql.all("select * from rowcall.learn_examples_v1(%s)", MODEL)
    assert (told["generation_id"], "has spent" in told["problem"]) == (None, True)


def test_an_attempt_that_was_lost_reads_and_stores_nothing(sql: Session) -> None:
    user, chunks = reader(sql)
    rate(sql, user, answered(sql, user, chunks))
    promote(sql)
    (told,) = sql.all("select * from rowcall.learn_examples_v1(%s)", MODEL)
    with sql.refused("PT409", "attempt.lost"):
        sql.value("select rowcall.read_example_v1(%s, 1)", told["generation_id"])
    with sql.refused("PT409", "attempt.lost"):
        sql.value("select rowcall.store_example_v1(%s, 1, %s, %s)", told["generation_id"], vector(1), MODEL)


def test_clients_cannot_make_one(sql: Session) -> None:
    user, _ = reader(sql)
    sql.as_user(user)
    with sql.refused("PT400", "kind must be one of"):
        sql.run(
            "insert into rowcall.generations (kind, input) values ('learn_example', %s)", jsonb({"example_id": "1"})
        )
    with sql.refused("42501"):
        sql.run("insert into rowcall.examples (question, answer) values ('q', 'a')")
