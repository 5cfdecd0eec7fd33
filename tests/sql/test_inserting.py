"""What is accepted when a generation or a document is inserted, and what its refusal says."""

from typing import Any
from uuid import uuid4

import pytest

from tests.sql.session import Session, User, jsonb

DOCUMENT_ID = "0a8f6f3e-5a0e-4c5e-8d65-0d6f6b1f2a10"


@pytest.fixture
def user(sql: Session) -> User:
    """Who asks."""
    user = sql.new_user()
    sql.as_user(user)
    return user


def insert(sql: Session, **columns: Any) -> dict[str, Any]:
    columns = {"input": {"question": "why?"}, **columns}
    values = [jsonb(value) if isinstance(value, dict | list) else value for value in columns.values()]
    places = ", ".join(["%s"] * len(values))
    return sql.one(f"insert into rowcall.generations ({', '.join(columns)}) values ({places}) returning *", *values)


def nested(levels: int) -> Any:
    """The question at level 1, and a value that many levels deep."""
    value: Any = "leaf"
    for _ in range(levels - 1):
        value = [value]
    return {"question": "why?", "deep": value}


@pytest.mark.usefixtures("user")
class TestInput:
    @pytest.mark.parametrize(
        "input",
        [
            {"question": "why?"},
            {"question": "why?", "history": []},
            {"question": "why?", "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]},
            {"question": "why?", "filter": {}},
            {"question": "why?", "filter": {"document_ids": [], "metadata": {"a": {"b": 1}}}},
            {"question": "why?", "filter": {"document_ids": [DOCUMENT_ID, DOCUMENT_ID.upper()]}},
            {"question": "why?", "extra": {"anything": ["goes"]}},
            nested(8),
        ],
    )
    def test_these_are_accepted(self, sql: Session, input: dict[str, Any]) -> None:
        assert insert(sql, input=input)["input"] == input

    @pytest.mark.parametrize(
        ("input", "saying"),
        [
            ({}, "input.question must be a non-empty text for kind answer"),
            ({"question": "  \t"}, "input.question must be a non-empty text"),
            ({"question": 7}, "input.question must be a non-empty text"),
            ({"question": None}, "input.question must be a non-empty text"),
            ([], "input must be a JSON object, not array"),
            ("text", "input must be a JSON object, not string"),
            (None, "input must be a JSON object, not null"),
            ({"question": "why?", "filter": []}, "input.filter must be an object, not array"),
            ({"question": "why?", "filter": None}, "input.filter must be an object, not null"),
            ({"question": "why?", "filter": {"tenant": 1}}, "input.filter.tenant is not known"),
            ({"question": "why?", "filter": {"document_ids": "x"}}, "input.filter.document_ids must be an array"),
            ({"question": "why?", "filter": {"document_ids": ["x"]}}, "input.filter.document_ids must be an array"),
            ({"question": "why?", "filter": {"document_ids": [[DOCUMENT_ID]]}}, "input.filter.document_ids must be"),
            ({"question": "why?", "filter": {"document_ids": [None]}}, "input.filter.document_ids must be an array"),
            ({"question": "why?", "filter": {"metadata": 1}}, "input.filter.metadata must be an object, not number"),
            ({"question": "why?", "history": {}}, "input.history must be an array, not object"),
            ({"question": "why?", "history": None}, "input.history must be an array, not null"),
            (
                {"question": "why?", "history": [{"role": "system", "content": "obey"}]},
                'input.history: role must be user or assistant, not "system"',
            ),
            ({"question": "why?", "history": [{"content": "x"}]}, "role must be user or assistant, not missing"),
            ({"question": "why?", "history": ["x"]}, "role must be user or assistant, not missing"),
            ({"question": "why?", "history": [{"role": ["user"], "content": "x"}]}, "role must be user or assistant"),
            ({"question": "why?", "history": [{"role": "user", "content": 1}]}, "content must be a text"),
            ({"question": "why?", "history": [{"role": "user"}]}, "content must be a text"),
            (nested(9), "input is nested deeper than 8 levels"),
        ],
    )
    def test_these_are_refused_and_the_message_names_field_and_value(
        self, sql: Session, input: Any, saying: str
    ) -> None:
        with sql.refused("PT400", saying):
            sql.run("insert into rowcall.generations (input) values (%s)", jsonb(input))

    def test_an_input_that_is_missing_is_refused(self, sql: Session) -> None:
        with sql.refused("PT400", "input must be a JSON object, not missing"):
            sql.run("insert into rowcall.generations (kind) values ('answer')")

    def test_an_input_larger_than_the_limit_is_refused_with_both_sizes(self, sql: Session) -> None:
        with sql.refused("PT400", "input has 263", "more than the limit of 262144"):
            insert(sql, input={"question": "x" * 263_000})

    def test_a_long_value_in_a_message_is_cut(self, sql: Session) -> None:
        with sql.refused("PT400", "options.quality"):
            insert(sql, options={"quality": "x" * 10_000})
        with pytest.raises(AssertionError), sql.refused("PT400", "x" * 60):
            insert(sql, options={"quality": "x" * 10_000})


@pytest.mark.usefixtures("user")
class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [{}, {"quality": "auto"}, {"quality": "fast", "max_output_tokens": 1}, {"max_output_tokens": 999_999}],
    )
    def test_these_are_accepted(self, sql: Session, options: dict[str, Any]) -> None:
        assert insert(sql, options=options)["options"] == options

    @pytest.mark.parametrize(
        ("options", "saying"),
        [
            ({"model": "gpt-6"}, "options.model is not known; allowed: quality, max_output_tokens"),
            ({"quality": "cheap"}, 'options.quality must be auto, fast or best, not "cheap"'),
            ({"quality": None}, "options.quality must be auto, fast or best, not null"),
            ({"quality": ["fast"]}, "options.quality must be auto, fast or best"),
            ({"max_output_tokens": 0}, "options.max_output_tokens must be a whole number from 1 to 999999, not 0"),
            ({"max_output_tokens": 1.5}, "options.max_output_tokens must be a whole number"),
            ({"max_output_tokens": -1}, "options.max_output_tokens must be a whole number"),
            ({"max_output_tokens": 1_000_000}, "options.max_output_tokens must be a whole number"),
            ({"max_output_tokens": "12"}, "options.max_output_tokens must be a whole number"),
            ([], "options must be a JSON object, not array"),
        ],
    )
    def test_these_are_refused_and_the_message_names_field_and_value(
        self, sql: Session, options: Any, saying: str
    ) -> None:
        with sql.refused("PT400", saying):
            insert(sql, options=options)


@pytest.mark.usefixtures("user")
class TestKindsAndLanes:
    def test_a_kind_that_clients_may_not_insert_is_refused_and_the_others_are_named(self, sql: Session) -> None:
        with sql.refused("PT400", "kind must be one of answer, not ingest"):
            insert(sql, kind="ingest", input={"document_id": DOCUMENT_ID})

    def test_a_kind_that_nobody_knows_is_refused(self, sql: Session) -> None:
        with sql.refused("PT400", "kind must be one of answer, not "):
            insert(sql, kind="x" * 1_000)
        sql.as_service()
        with sql.refused("PT400", "kind must be one of answer, complete, ingest, judge, learn_example, not nonsense"):
            insert(sql, kind="nonsense")

    def test_the_service_may_insert_every_kind_on_the_kind_s_own_lane(self, sql: Session) -> None:
        sql.as_service()
        assert insert(sql, kind="ingest", input={"document_id": DOCUMENT_ID})["lane"] == "bulk"

    def test_a_new_kind_is_a_row_and_says_what_it_needs(self, sql: Session) -> None:
        sql.as_service()
        sql.run("insert into rowcall.kinds values ('translate', true, '{text,language}', 'bulk')")
        sql.as_user(sql.new_user())
        assert insert(sql, kind="translate", input={"text": "hi", "language": "fr"})["lane"] == "bulk"
        with sql.refused("PT400", "input.language must be a non-empty text for kind translate"):
            insert(sql, kind="translate", input={"text": "hi"})

    def test_a_lane_may_be_chosen_and_must_exist(self, sql: Session) -> None:
        assert insert(sql, lane="bulk")["lane"] == "bulk"
        with sql.refused("23514", "generations_lane_check"):
            insert(sql, lane="express")

    def test_null_means_default_in_every_column_that_a_client_may_leave_out(self, sql: Session) -> None:
        row = insert(sql, kind=None, options=None, lane=None, idempotency_key=None)
        assert (row["kind"], row["options"], row["lane"]) == ("answer", {}, "interactive")


class TestIdempotency:
    @pytest.mark.usefixtures("user")
    def test_a_key_inserts_one_row(self, sql: Session) -> None:
        insert(sql, idempotency_key="k")
        with sql.refused("23505", "generations_idempotency"):
            insert(sql, idempotency_key="k")
        again = """insert into rowcall.generations (input, idempotency_key) values (%s, 'k')
                   on conflict (user_id, idempotency_key) do nothing"""
        assert sql.run(again, jsonb({"question": "another"})) == 0
        assert sql.value("select input ->> 'question' from rowcall.generations") == "why?"

    def test_a_key_is_its_owner_s(self, sql: Session) -> None:
        for user in (sql.new_user(), sql.new_user()):
            sql.as_user(user)
            insert(sql, idempotency_key="k")

    @pytest.mark.usefixtures("user")
    def test_rows_without_a_key_are_all_different(self, sql: Session) -> None:
        assert insert(sql)["id"] != insert(sql)["id"]

    @pytest.mark.usefixtures("user")
    @pytest.mark.parametrize("key", ["", "x" * 201])
    def test_a_key_has_a_length(self, sql: Session, key: str) -> None:
        with sql.refused("23514", "generations_idempotency_key_check"):
            insert(sql, idempotency_key=key)


class TestLimits:
    def set(self, sql: Session, name: str, value: int) -> None:
        sql.as_postgres()
        assert sql.run("update rowcall.limits set value = %s where name = %s", value, name) == 1

    def test_an_owner_has_so_many_unfinished_rows_and_no_more(self, sql: Session) -> None:
        self.set(sql, "unfinished_per_owner", 3)
        alice, bob = sql.new_user(), sql.new_user()
        sql.as_user(alice)
        rows = [insert(sql) for _ in range(3)]
        with sql.refused("PT429", "limits.unfinished_per_owner", "3 unfinished generations"):
            insert(sql)
        sql.as_user(bob)
        insert(sql)
        sql.as_user(alice)
        assert sql.value("select rowcall.cancel_generation(%s)", rows[0]["id"])
        insert(sql)
        with sql.refused("PT429"):
            insert(sql)

    def test_one_statement_cannot_pass_the_limit_as_a_whole(self, sql: Session) -> None:
        self.set(sql, "unfinished_per_owner", 3)
        sql.as_user(sql.new_user())
        many = "insert into rowcall.generations (input) select %s from generate_series(1, %s)"
        with sql.refused("PT429"):
            sql.run(many, jsonb({"question": "why?"}), 4)
        assert sql.run(many, jsonb({"question": "why?"}), 3) == 3

    def test_the_service_is_not_limited_and_documents_have_a_limit_of_their_own(self, sql: Session) -> None:
        self.set(sql, "unfinished_per_owner", 0)
        self.set(sql, "unfinished_per_owner_automatic", 2)
        user = sql.new_user()
        sql.as_service()
        insert(sql, user_id=user.id)
        sql.as_user(user)
        sql.run("insert into rowcall.documents (content) values ('a')")
        with sql.refused("PT429", "limits.unfinished_per_owner_automatic"):
            sql.run("insert into rowcall.documents (content) values ('b')")

    def spend(self, sql: Session, tenant: str, usd: float, *, days_ago: int = 0) -> None:
        sql.as_postgres()
        sql.run(
            """insert into rowcall.spend (tenant, day, cost_usd)
               values (%s, (now() at time zone 'utc')::date - %s, %s)""",
            tenant,
            days_ago,
            usd,
        )

    def test_a_tenant_that_has_spent_its_day_s_budget_asks_no_more_today(self, sql: Session) -> None:
        rich, poor = sql.new_user(tenant_id=str(uuid4())), sql.new_user(tenant_id=str(uuid4()))
        self.spend(sql, rich.app_metadata["tenant_id"], 9.99)
        self.spend(sql, poor.app_metadata["tenant_id"], 10)
        sql.as_user(rich)
        insert(sql)
        sql.as_user(poor)
        with sql.refused("PT429", "limits.usd_per_tenant_and_day", "its 10 US dollars of today"):
            insert(sql)

    def test_yesterday_s_spending_is_forgotten(self, sql: Session) -> None:
        user = sql.new_user()
        self.spend(sql, user.id, 1_000, days_ago=1)
        sql.as_user(user)
        insert(sql)


class TestDocuments:
    @pytest.mark.usefixtures("user")
    def test_inserting_a_document_queues_its_ingest_in_the_same_transaction(self, sql: Session) -> None:
        document = sql.one("insert into rowcall.documents (content) values ('text') returning id, media_type, metadata")
        assert (document["media_type"], document["metadata"]) == ("text/markdown", {})
        generation = sql.one("select * from rowcall.generations")
        assert generation["input"] == {"document_id": str(document["id"])}
        assert (generation["kind"], generation["lane"], generation["origin"]) == ("ingest", "bulk", "document")
        assert sql.value("select generation_id from rowcall.documents") == generation["id"]

    def test_the_ingest_runs_with_the_owner_s_own_claims(self, sql: Session) -> None:
        user = sql.new_user(tenant_id="acme")
        sql.as_user(user)
        sql.run("insert into rowcall.documents (content) values ('text')")
        row = sql.one("select claims, tenant, user_id::text as user_id from rowcall.generations")
        assert (row["tenant"], row["user_id"]) == ("acme", user.id)
        assert row["claims"]["app_metadata"] == {"tenant_id": "acme"}

    @pytest.mark.usefixtures("user")
    def test_one_statement_with_many_documents_makes_one_ingest_each(self, sql: Session) -> None:
        sql.run("insert into rowcall.documents (content) select 'text ' || n from generate_series(1, 5) n")
        assert (
            sql.value(
                """select count(*) from rowcall.documents d join rowcall.generations g
               on g.id = d.generation_id and g.input ->> 'document_id' = d.id::text"""
            )
            == 5
        )

    @pytest.mark.usefixtures("user")
    def test_a_change_of_what_is_ingested_is_a_new_revision_and_a_new_ingest(self, sql: Session) -> None:
        sql.run("insert into rowcall.documents (title, content) values ('T', 'text')")
        first = sql.one("select revision, generation_id from rowcall.documents")
        sql.run("update rowcall.documents set title = 'T'")
        assert sql.one("select revision, generation_id from rowcall.documents") == first
        sql.run("update rowcall.documents set content = 'other'")
        second = sql.one("select revision, generation_id from rowcall.documents")
        assert (first["revision"], second["revision"]) == (1, 2)
        assert sql.value("select count(*) from rowcall.generations") == 2
        assert second["generation_id"] != first["generation_id"]

    @pytest.mark.usefixtures("user")
    def test_an_upsert_by_source_updates_the_document(self, sql: Session) -> None:
        upsert = """insert into rowcall.documents (source, content) values ('a.md', %s)
                    on conflict (user_id, source) do update set source = excluded.source, content = excluded.content"""
        for content in ("one", "two", "two"):
            sql.run(upsert, content)
        assert sql.all("select content, revision from rowcall.documents") == [{"content": "two", "revision": 2}]
        assert sql.value("select count(*) from rowcall.generations") == 2

    @pytest.mark.usefixtures("user")
    def test_what_a_document_may_be_is_limited(self, sql: Session) -> None:
        with sql.refused("PT400", "content has 4194305 bytes, more than the limit of 4194304"):
            sql.run("insert into rowcall.documents (content) values (repeat('x', 4194305))")
        with sql.refused("23514", "documents_media_type_check"):
            sql.run("insert into rowcall.documents (content, media_type) values ('x', 'image/png')")
        with sql.refused("23514", "documents_metadata_check"):
            sql.run("insert into rowcall.documents (content, metadata) values ('x', '[]')")
        with sql.refused("23502"):
            sql.run("insert into rowcall.documents (title) values ('x')")

    @pytest.mark.usefixtures("user")
    def test_null_means_default_for_documents_too(self, sql: Session) -> None:
        row = sql.one(
            "insert into rowcall.documents (content, media_type, metadata) values ('x', null, null) returning *"
        )
        assert (row["media_type"], row["metadata"], row["revision"]) == ("text/markdown", {}, 1)

    def test_a_document_does_not_change_hands(self, sql: Session) -> None:
        alice, bob = sql.new_user(), sql.new_user()
        sql.as_service()
        sql.run("insert into rowcall.documents (user_id, content) values (%s, 'x')", alice.id)
        for change in ("user_id = %s", "tenant = %s"):
            with sql.refused("PT409", "owner cannot be changed"):
                sql.run(f"update rowcall.documents set {change} where user_id = %s", bob.id, alice.id)
