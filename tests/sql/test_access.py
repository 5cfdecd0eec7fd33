"""Row level security and column grants, tried out: what a client reads, writes and forges."""

import pytest

from tests.sql.session import Session, User, jsonb, vector

QUESTION = jsonb({"question": "why?"})

# Every table that clients may read at all, and a query for rows of it that are somebody's.
READABLE = ("generations", "attempts", "documents", "chunks", "examples", "feedback")
CLOSED = ("answer_cache", "calls", "kinds", "limits", "retention", "spend")

FORGERIES = {
    "id": "gen_random_uuid()",
    "user_id": "gen_random_uuid()",
    "tenant": "'another'",
    "claims": "'{}'",
    "origin": "'service'",
    "target": "'{}'",
    "status": "'succeeded'",
    "attempt": "7",
    "tries": "7",
    "run_at": "now()",
    "answer": "'forged'",
    "output": "'{}'",
    "citations": "'[]'",
    "error": "'{}'",
    "route": "'best'",
    "cost_usd": "0",
    "created_at": "now()",
    "finished_at": "now()",
}


def ask(sql: Session, user: User) -> str:
    """A generation of the user's, made as he would; its id. He asks afterwards."""
    sql.as_user(user)
    return str(sql.value("insert into rowcall.generations (input) values (%s) returning id", QUESTION))


def furnish(sql: Session, user: User) -> str:
    """A row of the user's in every table; his generation's id."""
    generation = ask(sql, user)
    sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", generation)
    document = sql.value("insert into rowcall.documents (content) values ('text') returning id")
    sql.as_service()
    sql.run("select * from rowcall.claim_generations_v1(array[%s::uuid], 'w', 30)", generation)
    sql.run(
        """insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                       content_hash, embedding, embedding_model)
           values (%s, 1, 0, 'text', 0, 4, 1, 'h', %s, 'm')""",
        document,
        vector(1),
    )
    sql.run("insert into rowcall.examples (user_id, question, answer) values (%s, 'q', 'a')", user.id)
    return generation


@pytest.mark.parametrize("table", READABLE)
def test_a_user_sees_what_is_hers_and_nothing_of_anybody_else(sql: Session, table: str) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    furnish(sql, alice)
    count = f"select count(*) from rowcall.{table}"
    sql.as_user(alice)
    assert sql.value(count) >= 1
    sql.as_user(bob)
    assert sql.value(count) == 0


@pytest.mark.parametrize("table", READABLE)
def test_anonymous_requests_see_nothing(sql: Session, table: str) -> None:
    furnish(sql, sql.new_user())
    sql.as_anon()
    if table in {"documents", "chunks", "examples"}:  # granted for the contexts of generations that are nobody's
        assert sql.value(f"select count(*) from rowcall.{table}") == 0
    else:
        with sql.refused("42501"):
            sql.value(f"select count(*) from rowcall.{table}")


@pytest.mark.parametrize("table", CLOSED)
def test_what_is_the_machine_s_is_closed_to_clients(sql: Session, table: str) -> None:
    user = sql.new_user()
    sql.as_user(user)
    with sql.refused("42501"):
        sql.run(f"select * from rowcall.{table}")
    sql.as_anon()
    with sql.refused("42501"):
        sql.run(f"select * from rowcall.{table}")


def test_a_row_belongs_to_who_inserts_it_with_all_that_the_token_says(sql: Session) -> None:
    user = sql.new_user(tenant_id="acme", role="editor")
    ask(sql, user)
    row = sql.one("select * from rowcall.generations")
    assert (str(row["user_id"]), row["tenant"], row["origin"]) == (user.id, "acme", "client")
    assert row["claims"] == {
        "sub": user.id,
        "role": "authenticated",
        "app_metadata": {"tenant_id": "acme", "role": "editor"},
    }
    assert (row["kind"], row["lane"], row["status"], row["options"]) == ("answer", "interactive", "queued", {})


def test_a_user_without_a_team_is_a_tenant_of_his_own(sql: Session) -> None:
    user = sql.new_user()
    ask(sql, user)
    assert sql.value("select tenant from rowcall.generations") == user.id


@pytest.mark.parametrize("column", FORGERIES)
def test_a_client_cannot_forge_a_column(sql: Session, column: str) -> None:
    sql.as_user(sql.new_user())
    with sql.refused("42501"):
        sql.run(f"insert into rowcall.generations (input, {column}) values (%s, {FORGERIES[column]})", QUESTION)


def test_a_client_cannot_update_or_delete_a_generation(sql: Session) -> None:
    id = ask(sql, sql.new_user())
    for change in ("update rowcall.generations set lane = 'bulk'", "delete from rowcall.generations"):
        with sql.refused("42501"):
            sql.run(f"{change} where id = %s", id)


def test_anonymous_requests_insert_nothing(sql: Session) -> None:
    sql.as_anon()
    with sql.refused("42501"):
        sql.run("insert into rowcall.generations (input) values (%s)", QUESTION)
    with sql.refused("42501"):
        sql.run("insert into rowcall.documents (content) values ('text')")


def test_a_token_without_a_user_inserts_nothing(sql: Session) -> None:
    sql.as_user(User("", {}))
    sql.connection.execute("select set_config('request.jwt.claims', '{\"role\": \"authenticated\"}', true)")
    with sql.refused("42501", "row-level security"):
        sql.run("insert into rowcall.generations (input) values (%s)", QUESTION)


def test_the_service_inserts_in_any_user_s_name_and_under_the_least_claims_that_name_him(sql: Session) -> None:
    user = sql.new_user(tenant_id="acme")
    sql.as_service()
    row = sql.one("insert into rowcall.generations (input, user_id) values (%s, %s) returning *", QUESTION, user.id)
    assert row["claims"] == {"sub": user.id, "role": "authenticated"}
    assert (row["tenant"], row["origin"]) == (user.id, "service")


def test_a_row_that_is_nobody_s_runs_as_anon(sql: Session) -> None:
    sql.as_service()
    row = sql.one("insert into rowcall.generations (input) values (%s) returning *", QUESTION)
    assert (row["user_id"], row["tenant"], row["claims"]) == (None, None, {"role": "anon"})


# Documents


def test_a_user_writes_only_his_own_documents(sql: Session) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    sql.as_user(alice)
    document = sql.value("insert into rowcall.documents (title, content) values ('T', 'text') returning id")
    assert str(sql.value("select user_id from rowcall.documents")) == alice.id
    sql.as_user(bob)
    assert sql.run("update rowcall.documents set title = 'mine' where id = %s", document) == 0
    assert sql.run("delete from rowcall.documents where id = %s", document) == 0
    sql.as_user(alice)
    assert sql.run("update rowcall.documents set title = 'better' where id = %s", document) == 1
    assert sql.run("delete from rowcall.documents where id = %s", document) == 1


@pytest.mark.parametrize(
    "column", ["user_id", "tenant", "revision", "generation_id", "ingested_revision", "chunk_count"]
)
def test_a_client_cannot_forge_a_document_s_column(sql: Session, column: str) -> None:
    sql.as_user(sql.new_user())
    sql.run("insert into rowcall.documents (content) values ('text')")
    with sql.refused("42501"):
        sql.run(f"insert into rowcall.documents (content, {column}) values ('text', null)")
    with sql.refused("42501"):
        sql.run(f"update rowcall.documents set {column} = null")


def test_chunks_and_examples_are_written_by_the_worker_alone(sql: Session) -> None:
    furnish(sql, user := sql.new_user())
    sql.as_user(user)
    for table in ("chunks", "examples"):
        with sql.refused("42501"):
            sql.run(f"delete from rowcall.{table}")
        with sql.refused("42501"):
            sql.run(f"update rowcall.{table} set document_id = null")


def test_whoever_may_read_a_document_may_read_its_chunks_and_examples(sql: Session) -> None:
    """One policy of the project's own opens documents to a team; everything made of them follows."""
    alice, bob = sql.new_user(tenant_id="acme"), sql.new_user(tenant_id="acme")
    furnish(sql, alice)
    sql.as_postgres()
    sql.run(
        """update rowcall.examples set user_id = null,
                  document_id = (select id from rowcall.documents where user_id = %s)""",
        alice.id,
    )
    sql.run(
        """create policy "team documents" on rowcall.documents for select to authenticated
           using (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant_id'))"""
    )
    sql.as_user(bob)
    for table in ("documents", "chunks", "examples"):
        assert sql.value(f"select count(*) from rowcall.{table}") == 1
    stranger = sql.new_user(tenant_id="other")
    sql.as_user(stranger)
    for table in ("documents", "chunks", "examples"):
        assert sql.value(f"select count(*) from rowcall.{table}") == 0


# Feedback


def test_a_user_rates_his_own_answers_changes_his_mind_and_takes_it_back(sql: Session) -> None:
    user = sql.new_user()
    id = ask(sql, user)
    upsert = """insert into rowcall.feedback (generation_id, rating, comment) values (%s, %s, 'so')
                on conflict (generation_id, user_id) do update
                set generation_id = excluded.generation_id, rating = excluded.rating, comment = excluded.comment"""
    assert sql.run(upsert, id, 1) == 1
    assert sql.run(upsert, id, -1) == 1
    assert sql.all("select rating, user_id::text as user_id from rowcall.feedback") == [
        {"rating": -1, "user_id": user.id}
    ]
    assert sql.run("delete from rowcall.feedback") == 1


def test_nobody_rates_an_answer_that_he_may_not_read(sql: Session) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    hers = ask(sql, alice)
    his = ask(sql, bob)
    with sql.refused("42501"):
        sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", hers)
    sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", his)
    with sql.refused("42501"):
        sql.run("update rowcall.feedback set generation_id = %s", hers)


@pytest.mark.parametrize(("column", "value"), [("rating", 0), ("rating", 5), ("comment", "x" * 2_001)])
def test_feedback_keeps_to_its_limits(sql: Session, column: str, value: object) -> None:
    id = ask(sql, sql.new_user())
    sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", id)
    with sql.refused("23514", f"feedback_{column}_check"):
        sql.run(f"update rowcall.feedback set {column} = %s", value)


# Topics


def may_listen(sql: Session, topic: str) -> bool:
    """As Realtime asks: can the role select a row of that topic?"""
    with sql.undone():
        sql.connection.execute("select set_config('realtime.topic', %s, true)", (topic,))
        return bool(sql.value("select count(*) from realtime.messages where topic = %s", topic))


def send(sql: Session, topic: str) -> None:
    sql.as_postgres()
    sql.run(
        """insert into realtime.messages (topic, extension, event, payload, private)
           values (%s, 'broadcast', 'delta', '{}', true)""",
        topic,
    )


def test_the_owner_and_nobody_else_may_listen_to_a_generation(sql: Session) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    topic = f"generation:{ask(sql, alice)}"
    send(sql, topic)
    sql.as_user(alice)
    assert may_listen(sql, topic)
    sql.as_user(bob)
    assert not may_listen(sql, topic)
    sql.as_anon()
    assert not may_listen(sql, topic)


@pytest.mark.parametrize(
    "topic", ["generation:", "generation:1", "generation:' or 1=1", "other", "", "generation:{id}x", "Generation:{id}"]
)
def test_a_topic_that_names_no_generation_is_no_error_and_not_to_be_heard(sql: Session, topic: str) -> None:
    user = sql.new_user()
    named = topic.replace("{id}", ask(sql, user))
    send(sql, named)
    sql.as_user(user)
    assert not may_listen(sql, named)


def test_nobody_but_the_machine_may_send(sql: Session) -> None:
    user = sql.new_user()
    topic = f"generation:{ask(sql, user)}"
    with sql.refused("42501", "row-level security"):
        sql.run(
            """insert into realtime.messages (topic, extension, event, payload, private)
               values (%s, 'broadcast', 'delta', '{"text": "forged"}', true)""",
            topic,
        )
