"""Automations: the user's own write makes a generation, and its end fills the column."""

import re
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import REPOSITORY
from tests.sql.conftest import Connections
from tests.sql.session import Session, User, jsonb
from tests.sql.verbs import claim, finish, replay, row

POSTS = """
create table public.test_posts (
  id bigint generated always as identity primary key, author_id uuid, body text, score integer, summary varchar(40),
  "Odd ""name" text, updated_at timestamptz default now());
alter table public.test_posts enable row level security;
grant select on public.test_posts to anon, authenticated, service_role;
grant insert (author_id, body, score), update (author_id, body, score) on public.test_posts to anon, authenticated;
grant insert, update on public.test_posts to service_role;
create policy own on public.test_posts to authenticated
  using (author_id = auth.uid()) with check (author_id = auth.uid());
create policy anybody on public.test_posts for insert to anon with check (true);
"""


@pytest.fixture
def posts(sql: Session) -> Session:
    """A table of the project's own. Its authors may not write the column that is to be filled."""
    sql.as_postgres()
    sql.run(POSTS)
    return sql


def automate(
    sql: Session,
    *arguments: str,
    when: str = "after insert or update of body",
    condition: str = "",
    table: str = "public.test_posts",
    name: str = "summarize",
) -> None:
    sql.as_postgres()
    literals = ", ".join("'" + argument.replace("'", "''") + "'" for argument in arguments)
    condition = f"when ({condition})" if condition else ""
    sql.run(
        f"""create trigger {name} {when} on {table} for each row {condition}
            execute function rowcall.generate({literals})"""
    )


def post(sql: Session, user: User | None = None, **columns: Any) -> int:
    """As whoever asks now; the id of a new row."""
    columns = {"author_id": user and user.id, "body": "Swallows fly.", **columns}
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    sql.run(f"insert into public.test_posts ({names}) values ({places})", *columns.values())
    sql.as_postgres()
    return int(sql.value("select max(id) from public.test_posts"))


def generations(sql: Session) -> list[dict[str, Any]]:
    sql.as_postgres()
    return sql.all("select * from rowcall.generations where origin = 'automation' order by created_at")


def settle(sql: Session, generation: dict[str, Any], answer: str | None, **result: Any) -> dict[str, Any]:
    """Claims it and finishes it with the answer; its row afterwards, read as postgres."""
    sql.as_service()
    (work,) = claim(sql, str(generation["id"]))
    result = {"status": "succeeded", "answer": answer, **result}
    (settled,) = finish(sql, {"id": str(work["id"]), "attempt": work["attempt"], **result})
    assert settled["problem"] is None
    sql.as_postgres()
    return row(sql, str(generation["id"]))


def summaries(sql: Session) -> list[str | None]:
    sql.as_postgres()
    return sql.column("select summary from public.test_posts order by id")


SUMMARIZE = ("complete", "Summarize: {{body}}", "summary")


class TestAsking:
    def test_a_row_that_appears_makes_a_generation_in_its_author_s_name_and_the_answer_fills_the_column(
        self, posts: Session
    ) -> None:
        automate(posts, *SUMMARIZE)
        author = posts.new_user(tenant_id="acme", team="birds")
        posts.as_user(author)
        id = post(posts, author)
        (made,) = generations(posts)
        assert (made["kind"], made["input"], made["lane"]) == (
            "complete",
            {"prompt": "Summarize: Swallows fly."},
            "bulk",
        )
        assert (str(made["user_id"]), made["tenant"], made["status"]) == (author.id, "acme", "queued")
        assert made["claims"]["app_metadata"] == {"tenant_id": "acme", "team": "birds"}
        assert made["target"] == {
            "schema": "public", "table": "test_posts", "key": {"id": id}, "column": "summary", "hops": 0}  # fmt: skip
        assert settle(posts, made, "They fly.")["error"] is None
        assert summaries(posts) == ["They fly."]

    def test_a_rolled_back_write_leaves_no_generation(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        with posts.undone():
            post(posts)
        assert generations(posts) == []

    def test_a_change_of_the_chosen_columns_asks_again_and_of_others_does_not(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        post(posts)
        posts.run("update public.test_posts set score = 1")
        assert len(generations(posts)) == 1
        posts.run("update public.test_posts set body = body")
        assert len(generations(posts)) == 1
        posts.run("update public.test_posts set body = 'Coconuts.'")
        assert [g["input"]["prompt"] for g in generations(posts)] == [
            "Summarize: Swallows fly.",
            "Summarize: Coconuts.",
        ]

    def test_a_condition_decides_in_the_trigger_itself(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, condition="new.score > 1")
        post(posts, score=1)
        post(posts, score=2)
        assert len(generations(posts)) == 1

    def test_settings_name_lane_and_options(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, "lane=interactive", "quality=fast", "max_output_tokens=99")
        post(posts)
        (made,) = generations(posts)
        assert (made["lane"], made["options"]) == ("interactive", {"quality": "fast", "max_output_tokens": 99})

    def test_a_value_that_looks_like_a_placeholder_is_text_and_null_is_empty(self, posts: Session) -> None:
        automate(posts, "complete", '{{body}}|{{ score }}|{{Odd "name}}|{ {x} }', "summary")
        post(posts, body="{{summary}} {{nothing}} '; drop table x; -- \\1 %s $1")
        (made,) = generations(posts)
        assert made["input"]["prompt"] == "{{summary}} {{nothing}} '; drop table x; -- \\1 %s $1|||{ {x} }"

    @pytest.mark.parametrize("body", [None, "", " \n"])
    def test_a_blank_text_asks_nothing(self, posts: Session, body: str | None) -> None:
        automate(posts, "complete", "{{body}}", "summary")
        post(posts, body=body)
        assert generations(posts) == []

    def test_a_thousand_rows_of_one_statement_are_hinted_at_in_pages_at_commit(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        posts.run("insert into public.test_posts (body) select 'text ' || n from generate_series(1, 1000) n")
        assert len(generations(posts)) == 1000
        assert webhooks(posts) == []
        posts.run("set constraints all immediate")
        assert sorted(len(rows) for rows in webhooks(posts)) == [500, 500]
        hinted = {hint["id"] for rows in webhooks(posts) for hint in rows}
        assert hinted == {str(g["id"]) for g in generations(posts)}


def webhooks(sql: Session) -> list[Any]:
    """The hints of each request that waits to be sent."""
    sql.as_postgres()
    return sql.column("select convert_from(body, 'utf8')::jsonb -> 'rows' from net.http_request_queue")


class TestOwner:
    def test_a_token_says_who_asks_whatever_the_column_says(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, "owner=author_id")
        posts.run("create policy any_author on public.test_posts for insert to authenticated with check (true)")
        author, victim = posts.new_user(), posts.new_user()
        posts.as_user(author)
        post(posts, victim)
        assert [str(g["user_id"]) for g in generations(posts)] == [author.id]

    def test_an_anonymous_request_names_nobody(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, "owner=author_id")
        victim = posts.new_user()
        posts.as_anon()
        post(posts, victim)
        (made,) = generations(posts)
        assert (made["user_id"], made["tenant"], made["claims"]) == (None, None, {"role": "anon"})

    @pytest.mark.parametrize("writer", ["service", "postgres"])
    def test_a_trusted_writer_s_row_is_its_owner_column_s(self, posts: Session, writer: str) -> None:
        automate(posts, *SUMMARIZE, "owner=author_id")
        author = posts.new_user()
        getattr(posts, f"as_{writer}")()
        post(posts, author)
        (made,) = generations(posts)
        assert (str(made["user_id"]), made["tenant"]) == (author.id, author.id)
        assert made["claims"] == {"sub": author.id, "role": "authenticated"}

    def test_without_an_owner_a_trusted_writer_s_row_is_nobody_s(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        posts.as_service()
        post(posts)
        assert generations(posts)[0]["claims"] == {"role": "anon"}

    def test_an_owner_that_is_no_user_is_refused_and_never_run_as_somebody_else(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, "owner=author_id")
        posts.as_service()
        post(posts, author_id=str(uuid4()))
        (made,) = generations(posts)
        assert (made["status"], made["error"]["code"], made["user_id"]) == ("refused", "automation.no_owner", None)

    def test_a_client_can_neither_set_a_target_nor_aim_a_trigger(self, posts: Session) -> None:
        user = posts.new_user()
        posts.run("grant create on schema public to authenticated")  # more than any project should allow
        posts.as_user(user)
        posts.run("create table public.test_mine (id bigint primary key, body text)")
        target = {"schema": "public", "table": "test_posts", "key": {"id": 1}, "column": "summary", "hops": 0}
        with posts.refused("42501"):
            posts.run(
                "insert into rowcall.generations (input, target) values (%s, %s)",
                jsonb({"question": "why?"}),
                jsonb(target),
            )
        with posts.refused("42501", "generate"):
            posts.run(
                """create trigger mine after insert on public.test_mine for each row
                   execute function rowcall.generate('complete', '{{body}}', 'body')"""
            )
        with posts.refused("42501"):
            posts.run("select rowcall.ask_for_row('{}', 'public.test_mine', '{}', '{}', 0, false)")

    def test_clients_may_not_complete_prompts(self, posts: Session) -> None:
        posts.as_user(posts.new_user())
        with posts.refused("PT400", "kind must be one of answer, not complete"):
            posts.run("insert into rowcall.generations (kind, input) values ('complete', %s)", jsonb({"prompt": "x"}))


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "saying"),
        [
            (("complete", "{{text}}", "summary"), "names {{text}}, which is no column"),
            (("complete", "{{body}}", "sumary"), "has no column sumary"),
            (("complete", "{{body}}", "id"), "column id is a part of the primary key"),
            (("complete", "{{body}}"), "needs (kind, template, column)"),
            (
                ("compete", "{{body}}", "summary"),
                "there is no kind 'compete'; rowcall.kinds has answer, complete, ingest",
            ),
            ((*SUMMARIZE, "owner=writer"), "has no column writer to name the owner"),
            ((*SUMMARIZE, "owner=body"), "the owner's column must hold a user's id"),
            ((*SUMMARIZE, "lane=fast"), "lane must be interactive or bulk, not fast"),
            ((*SUMMARIZE, "quality=cheap"), "options.quality must be auto, fast or best"),
            ((*SUMMARIZE, "max_output_tokens=many"), "options.max_output_tokens must be a whole number"),
            (
                (*SUMMARIZE, "model=gpt-6"),
                "'model=gpt-6' is no setting; known: owner, lane, quality, max_output_tokens",
            ),
            ((*SUMMARIZE, "owner"), "'owner' is no setting"),
        ],
    )
    def test_a_mistake_in_the_declaration_fails_the_first_write_and_says_so(
        self, posts: Session, arguments: tuple[str, ...], saying: str
    ) -> None:
        automate(posts, *arguments)
        with posts.refused("22023", saying):
            post(posts)

    @pytest.mark.parametrize("when", ["before insert", "after delete"])
    def test_only_after_insert_or_update_is_an_automation(self, posts: Session, when: str) -> None:
        post(posts)
        automate(posts, *SUMMARIZE, when=when)
        with posts.refused("22023", "trigger summarize must be `after insert or update … for each row`"):
            posts.run("delete from public.test_posts") if "delete" in when else post(posts)

    def test_a_table_without_a_primary_key_says_so(self, posts: Session) -> None:
        posts.run("create table public.test_log (body text, summary text)")
        automate(posts, *SUMMARIZE, table="public.test_log")
        with posts.refused("22023", "test_log has no primary key"):
            posts.run("insert into public.test_log (body) values ('x')")

    def test_a_kind_that_needs_more_than_one_text_says_so(self, posts: Session) -> None:
        posts.run("insert into rowcall.kinds values ('translate', true, '{text,language}', 'bulk')")
        automate(posts, "translate", "{{body}}", "summary")
        with posts.refused("22023", "kind translate needs 2 of input"):
            post(posts)


class TestLimits:
    def limit(self, sql: Session, name: str, value: int) -> None:
        sql.as_postgres()
        assert sql.run("update rowcall.limits set value = %s where name = %s", value, name) == 1

    @pytest.mark.parametrize("most", [3, 250])
    def test_what_an_owner_may_not_have_open_is_born_refused_and_the_write_stands(
        self, posts: Session, most: int
    ) -> None:
        self.limit(posts, "unfinished_per_owner_automatic", most)
        automate(posts, *SUMMARIZE)
        author = posts.new_user()
        posts.as_user(author)
        posts.run(
            "insert into public.test_posts (author_id, body) select %s, n::text from generate_series(1, %s) n",
            author.id,
            most + 2,
        )
        made = generations(posts)
        assert [g["status"] for g in made] == ["queued"] * most + ["refused"] * 2
        assert made[-1]["error"]["code"] == "limits.unfinished_per_owner_automatic"
        assert made[-1]["finished_at"] is not None
        posts.as_service()
        assert replay(posts, str(made[-1]["id"])) == [str(made[-1]["id"])]

    def test_a_spent_budget_refuses_the_generation_and_not_the_row(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        author = posts.new_user()
        posts.run(
            """insert into rowcall.spend (tenant, day, cost_usd)
               values (%s, (now() at time zone 'utc')::date, 10)""",
            author.id,
        )
        posts.as_user(author)
        post(posts, author)
        assert generations(posts)[0]["error"]["code"] == "limits.usd_per_tenant_and_day"
        assert len(summaries(posts)) == 1

    def test_a_text_that_is_too_large_is_refused_with_its_beginning(self, posts: Session) -> None:
        self.limit(posts, "input_bytes", 5000)
        automate(posts, *SUMMARIZE)
        post(posts, body="x" * 6000)
        (made,) = generations(posts)
        assert (made["status"], made["error"]["code"]) == ("refused", "input.too_large")
        assert made["input"]["prompt"] == "Summarize: " + "x" * 989


class TestFilling:
    def made(self, sql: Session, **columns: Any) -> dict[str, Any]:
        automate(sql, *SUMMARIZE)
        post(sql, **columns)
        return generations(sql)[-1]

    def test_the_author_need_not_be_allowed_to_write_the_column(self, posts: Session) -> None:
        author = posts.new_user()
        automate(posts, *SUMMARIZE)
        posts.as_user(author)
        post(posts, author)
        posts.as_user(author)
        with posts.refused("42501"):
            posts.run("update public.test_posts set summary = 'mine'")
        settle(posts, generations(posts)[0], "ours")
        assert summaries(posts) == ["ours"]

    def test_an_answer_that_does_not_fit_the_column_is_kept_and_not_cut(self, posts: Session) -> None:
        ended = settle(posts, self.made(posts), "x" * 41)
        assert (ended["status"], ended["answer"], ended["error"]["code"]) == ("succeeded", "x" * 41, "target.failed")
        assert "too long" in ended["error"]["message"]
        assert summaries(posts) == [None]

    def test_a_row_that_is_gone_is_reported(self, posts: Session) -> None:
        made = self.made(posts)
        posts.run("delete from public.test_posts")
        ended = settle(posts, made, "late")
        assert (ended["answer"], ended["error"]["code"]) == ("late", "target.failed")
        assert "no row with that key" in ended["error"]["message"]

    def test_of_two_changes_the_later_one_fills_whichever_is_answered_last(self, posts: Session) -> None:
        self.made(posts)
        posts.run("update public.test_posts set body = 'Coconuts.'")
        first, second = generations(posts)
        settle(posts, second, "new")
        ended = settle(posts, first, "old")
        assert (ended["status"], ended["answer"], ended["error"]["code"]) == ("succeeded", "old", "target.superseded")
        assert summaries(posts) == ["new"]

    def test_a_constraint_that_the_table_defers_refuses_one_answer_and_not_the_batch(self, posts: Session) -> None:
        posts.run("create table public.test_words (word varchar(40) primary key)")
        posts.run("insert into public.test_words values ('known')")
        posts.run(
            """alter table public.test_posts add foreign key (summary)
               references public.test_words deferrable initially deferred"""
        )
        automate(posts, *SUMMARIZE)
        post(posts)
        post(posts)
        one, other = generations(posts)
        posts.as_service()
        works = claim(posts, str(one["id"]), str(other["id"]))
        assert len(works) == 2
        finish(
            posts,
            {"id": str(one["id"]), "attempt": 1, "status": "succeeded", "answer": "unknown"},
            {"id": str(other["id"]), "attempt": 1, "status": "succeeded", "answer": "known"},
        )
        assert [g["error"] and g["error"]["code"] for g in generations(posts)] == ["target.failed", None]
        assert summaries(posts) == [None, "known"]

    @pytest.mark.parametrize(
        ("column_type", "answer", "filled"),
        [
            ("jsonb", '{"tags": ["a"]}', {"tags": ["a"]}),
            ("text[]", "{a,b}", ["a", "b"]),
            ("integer", "42", 42),
            ("character(3)", "abc", "abc"),
            ("boolean", "true", True),
            ("jsonb", "no json", None),
            ("character(3)", "abcd", None),
        ],
    )
    def test_an_answer_becomes_the_column_s_type_or_is_refused(
        self, posts: Session, column_type: str, answer: str, filled: Any
    ) -> None:
        posts.run("create domain public.test_never_null as text not null")
        posts.run(
            f"""create table public.test_typed (id uuid primary key default gen_random_uuid(), body text,
                                                other public.test_never_null default 'x', filled {column_type})"""
        )
        automate(posts, "complete", "{{body}}", "filled", table="public.test_typed")
        posts.run("insert into public.test_typed (body) values ('x')")
        ended = settle(posts, generations(posts)[0], answer)
        assert posts.value("select filled from public.test_typed") == filled
        assert (ended["error"] is None) == (filled is not None)

    def test_where_a_job_gives_no_answer_its_output_fills(self, posts: Session) -> None:
        settle(posts, self.made(posts), None, output={"a": 1})
        assert summaries(posts) == ['{"a": 1}']

    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("id uuid", "'0a8f6f3e-5a0e-4c5e-8d65-0d6f6b1f2a10'"),
            ("id text", "'it''s; {{x}} \"q\"'"),
            ("id numeric", "12345678901234567890.123"),
            ("id timestamptz", "'2026-11-25 12:34:56.789012+02'"),
            ('"Id 1" integer, "b""c" varchar(5)', "7, 'abc'"),
            ("id character(5)", "'ab'"),
        ],
    )
    def test_any_primary_key_names_its_row(self, posts: Session, key: str, values: str) -> None:
        names = [part.rsplit(" ", 1)[0] for part in key.split(", ")]
        posts.run('create schema "Test schema"')
        table = '"Test schema"."Odd ""table"'
        posts.run(f'create table {table} ({key}, body text, "Sum mary" text, primary key ({", ".join(names)}))')
        automate(posts, "complete", "{{body}}", "Sum mary", table=table)
        posts.run(f"insert into {table} values ({values}, 'x')")
        assert settle(posts, generations(posts)[0], "filled")["error"] is None
        assert posts.column(f'select "Sum mary" from {table}') == ["filled"]

    def test_a_partition_s_row_is_filled(self, posts: Session) -> None:
        posts.run(
            "create table public.test_parts (id bigint primary key, body text, summary text) partition by range (id)"
        )
        posts.run("create table public.test_part_1 partition of public.test_parts for values from (1) to (10)")
        automate(posts, *SUMMARIZE, table="public.test_parts")
        posts.run("insert into public.test_parts values (3, 'x')")
        settle(posts, generations(posts)[0], "filled")
        assert posts.column("select summary from public.test_parts") == ["filled"]


class TestLoops:
    def test_our_own_fill_asks_nothing(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE, when="after insert or update")
        post(posts)
        settle(posts, generations(posts)[0], "short")
        assert len(generations(posts)) == 1

    def test_what_the_table_s_triggers_change_along_with_the_fill_asks_nothing_either(self, posts: Session) -> None:
        posts.run(
            """create function public.test_touch() returns trigger language plpgsql as
               $$ begin new.updated_at := clock_timestamp(); return new; end $$"""
        )
        posts.run(
            """create trigger touch before update on public.test_posts
               for each row execute function public.test_touch()"""
        )
        automate(posts, *SUMMARIZE, when="after insert or update")
        post(posts)
        settle(posts, generations(posts)[0], "short")
        assert len(generations(posts)) == 1
        posts.run("update public.test_posts set score = 7")  # a person's change of another column is a change
        assert len(generations(posts)) == 2

    def test_a_chain_goes_on_in_its_owner_s_name(self, posts: Session) -> None:
        posts.run("alter table public.test_posts add tags text")
        automate(posts, *SUMMARIZE)
        automate(posts, "complete", "Tags of: {{summary}}", "tags", when="after update of summary", name="tag")
        author = posts.new_user(tenant_id="acme")
        posts.as_user(author)
        post(posts, author)
        settle(posts, generations(posts)[0], "short")
        first, second = generations(posts)
        assert second["input"] == {"prompt": "Tags of: short"}
        assert (first["user_id"], first["tenant"], first["claims"]) == (
            second["user_id"], second["tenant"], second["claims"])  # fmt: skip
        assert second["target"]["hops"] == 1
        settle(posts, second, "birds")
        assert posts.column("select tags from public.test_posts") == ["birds"]

    def test_two_automations_that_start_each_other_end_after_three_steps(self, posts: Session) -> None:
        automate(posts, *SUMMARIZE)
        automate(posts, "complete", "Expand: {{summary}}", "body", when="after update of summary", name="expand")
        post(posts)
        for step in range(3):
            made = generations(posts)[-1]
            assert (made["target"]["hops"], made["status"]) == (step, "queued")
            settle(posts, made, f"step {step}")
        last = generations(posts)[-1]
        assert (len(generations(posts)), last["status"]) == (4, "refused")
        assert last["error"]["code"] == "automation.too_many_hops"
        posts.run("update public.test_posts set body = 'a person again'")
        assert generations(posts)[-1]["target"]["hops"] == 0


class TestAskingByKey:
    """What a Database Webhook leads to."""

    def ask(self, sql: Session, key: dict[str, Any], *settings: str, table: str = "test_posts") -> str | None:
        sql.as_service()
        made: str | None = sql.value(
            "select rowcall.ask_for_row_v1('public', %s, %s::jsonb[], %s)::text",
            table,
            [jsonb(key)],
            [*SUMMARIZE, *settings],
        )
        return made

    def test_the_row_is_asked_once_in_its_owner_s_name_until_it_changes(self, posts: Session) -> None:
        author = posts.new_user()
        key = {"id": post(posts, author)}
        assert self.ask(posts, key, "owner=author_id") is not None
        assert self.ask(posts, key, "owner=author_id") is None
        (made,) = generations(posts)
        assert (str(made["user_id"]), made["input"]) == (author.id, {"prompt": "Summarize: Swallows fly."})
        settle(posts, made, "They fly.")
        assert summaries(posts) == ["They fly."]
        assert self.ask(posts, key) is None  # our own fill
        posts.as_postgres()
        posts.run("update public.test_posts set body = 'Coconuts.'")
        assert self.ask(posts, key) is not None

    def test_a_row_that_is_gone_asks_nothing_and_a_wrong_declaration_says_so(self, posts: Session) -> None:
        assert self.ask(posts, {"id": 1}) is None
        with posts.refused("22023", "has no such key"):
            self.ask(posts, {"nr": 1})
        with posts.refused("22023", "public.gone does not exist"):
            self.ask(posts, {"id": 1}, table="gone")

    def test_a_circle_is_stopped_by_its_pace(self, posts: Session) -> None:
        posts.run("update rowcall.limits set value = 2 where name = 'automation_per_row_and_hour'")
        key = {"id": post(posts)}
        for n in range(3):
            posts.as_postgres()
            posts.run("update public.test_posts set body = %s", f"text {n}")
            assert self.ask(posts, key) is not None
        assert [g["status"] for g in generations(posts)] == ["queued", "queued", "refused"]
        assert generations(posts)[-1]["error"]["code"] == "automation.too_many_hops"


class TestLooking:
    def test_automations_are_listed_from_the_catalog_with_what_is_wrong_with_them(self, posts: Session) -> None:
        odd = 'It\'s \\000 {{body}}\n"ü" 🐦'
        automate(posts, "complete", odd, "summary", "owner=author_id", condition="new.score > 1")
        automate(posts, "complete", "{{body}}", "summary", "lane=never", name="wrong")
        posts.as_service()
        found = posts.all("select * from rowcall.automations_v2() where table_name = 'test_posts'")
        assert [(f["trigger_name"], f["template"], f["column_name"], f["is_enabled"]) for f in found] == [
            ("summarize", odd, "summary", True),
            ("wrong", "{{body}}", "summary", True),
        ]
        assert "new.score > 1" in found[0]["definition"]
        assert (found[0]["problem"], found[1]["problem"]) == (
            None,
            "lane must be interactive or bulk, not never",
        )

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("complete", "{{body}}", "summary", "owner=author_id"), None),
            (("complete", "{{body}}", "abstract"), "table public.test_posts has no column abstract to be filled"),
            (("complete", "{{text}}", "summary"), "the template names {{text}}, which is no column of the table"),
            (("complete", "{{body}}", "summary", "owner=writer"), "has no column writer to name the owner"),
            (("complete", "{{body}}", "id"), "a part of the primary key"),
            (("translate", "{{body}}", "summary"), "there is no kind translate; rowcall.kinds has answer, complete"),
            (("complete", "{{body}}", "summary", "lane=never"), "lane must be interactive or bulk, not never"),
        ],
    )
    def test_what_an_automation_names_is_looked_up_before_a_row_meets_it(
        self, posts: Session, arguments: tuple[str, ...], problem: str | None
    ) -> None:
        automate(posts, *arguments)
        posts.as_service()
        found = posts.one("select * from rowcall.automations_v2() where table_name = 'test_posts'")
        assert (found["trigger_name"], found["kind"], found["is_enabled"]) == ("summarize", arguments[0], True)
        assert problem is None or problem in found["problem"]
        assert (found["problem"] is None) == (problem is None)

    def test_the_tables_of_a_configuration_are_examined_with_their_webhooks(self, posts: Session) -> None:
        asked = [
            {"schema": "public", "table": table, "arguments": ["complete", "{{body}}", "summary"]}
            for table in ("test_posts", "gone")
        ]
        posts.as_service()
        good, gone = posts.all(
            "select * from rowcall.examine_tables_v1(%s::jsonb[], 'c')", [jsonb(table) for table in asked]
        )
        assert (good["problem"], good["primary_key"], good["webhooks"]) == (None, ["id"], [])
        assert (gone["problem"], gone["primary_key"], gone["webhooks"]) == ("the table does not exist", [], [])

    def test_trying_an_automation_shows_what_it_would_ask_and_asks_nothing(self, posts: Session) -> None:
        id = post(posts)
        automate(posts, *SUMMARIZE)
        automate(posts, "complete", "{{text}}", "summary", name="wrong")
        posts.as_service()
        tried = "select * from rowcall.try_automation_v1('public', 'test_posts', %s, 5)"
        assert posts.all(tried, "summarize") == [
            {"key": {"id": id}, "asked": "Summarize: Swallows fly.", "problem": None}
        ]
        assert "names {{text}}" in posts.one(tried, "wrong")["problem"]
        with posts.refused("22023", "has no automation gone"):
            posts.all(tried, "gone")
        assert generations(posts) == []


def test_the_statements_of_the_page_work_as_they_stand(sql: Session) -> None:
    page = (REPOSITORY / "docs" / "automations.md").read_text()
    (trigger,) = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    sql.as_postgres()
    sql.run(
        """create table public.posts (id bigint generated always as identity primary key, author_id uuid, body text,
                                      summary text constraint short check (length(summary) < 9))"""
    )
    sql.run(trigger)
    sql.run("insert into public.posts (body) values ('one'), ('two')")
    ended = [settle(sql, made, answer) for made, answer in zip(generations(sql), ("fits", "too long"), strict=True)]
    assert [row["error"] and row["error"]["code"] for row in ended] == [None, None]
    sql.run("insert into public.posts (body) values ('three')")
    assert settle(sql, generations(sql)[-1], "far too long")["error"]["code"] == "target.failed"
    assert sql.column("select summary from public.posts order by id") == ["fits", "too long", None]


def test_a_finish_waits_for_nobody_who_updates_the_table(connections: Connections) -> None:
    """A locked target leaves its generation running, to be finished again; the others of the batch are finished."""
    with connections.open() as setup, connections.open() as user, connections.open() as worker:
        setup.execute("create table public.test_locked (id bigint primary key, body text, summary text)")
        try:
            setup.execute(
                """create trigger summarize after insert on public.test_locked for each row
                   execute function rowcall.generate('complete', '{{body}}', 'summary')"""
            )
            setup.execute("insert into public.test_locked values (1, 'one'), (2, 'two')")
            made = setup.execute(
                """select id::text from rowcall.generations where target ->> 'table' = 'test_locked'
                   order by target -> 'key' ->> 'id'"""
            ).fetchall()
            ids = [id for (id,) in made]
            worker.execute("select * from rowcall.claim_generations_v1(%s::uuid[], 'w', 30)", (ids,))
            results = [jsonb({"id": id, "attempt": 1, "status": "succeeded", "answer": "a"}) for id in ids]
            with user.transaction():
                user.execute("update public.test_locked set body = 'mine' where id = 1")
                worker.execute("set statement_timeout = '5s'")
                settled = worker.execute(
                    "select id::text, accepted, problem from rowcall.finish_generations_v4(%s::jsonb[])", (results,)
                ).fetchall()
            answers = {id: (accepted, problem) for id, accepted, problem in settled}
            assert answers[ids[1]] == (True, None)
            assert answers[ids[0]] == (False, "target.locked: a row of public.test_locked is locked (55P03)")
            again = worker.execute(
                "select accepted from rowcall.finish_generations_v4(%s::jsonb[])", (results[:1],)
            ).fetchall()
            assert again == [(True,)]
            assert setup.execute("select summary from public.test_locked order by id").fetchall() == [("a",), ("a",)]
        finally:
            setup.execute("drop table public.test_locked")
