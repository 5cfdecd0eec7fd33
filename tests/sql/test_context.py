"""What a job reads, it reads as the row's owner, and leaves again as who it was."""

from math import sqrt
from typing import Any

import pytest

from tests.sql.session import Session, User, jsonb, vector
from tests.sql.verbs import running

MODEL = "minilm"
EXACT, APPROXIMATE = 5_000, 0  # `exact_up_to`: how many visible chunks are still searched exactly


def document(sql: Session, user: User | None, *contents: str, metadata: dict[str, Any] | None = None) -> str:
    """A document with a chunk for each content; the n-th one's vector leans a little further east."""
    sql.as_service()
    id = str(
        sql.value(
            """insert into rowcall.documents (user_id, title, content, metadata)
               values (%s, 'T', 'text', %s) returning id""",
            user and user.id,
            jsonb(metadata or {}),
        )
    )
    for n, content in enumerate(contents):
        sql.run(
            """insert into rowcall.chunks (document_id, revision, ordinal, content, heading_path, start_char, end_char,
                                           tokens, content_hash, embedding, embedding_model)
               values (%s, 1, %s, %s, '{Heading}', 0, 1, 1, %s, %s, %s)""",
            id,
            n,
            content,
            content,
            vector(1, n / 10),
            MODEL,
        )
    return id


def context(sql: Session, generation: str, question: str = "anything", **arguments: Any) -> Any:
    given = {"query_embedding": vector(1), "embedding_model": MODEL, **arguments}
    named = "".join(f", {name} => %s" for name in given)
    return sql.value(f"select rowcall.context_v4(%s, 1, %s{named})", generation, question, *given.values())


def contents(found: Any) -> list[str]:
    return [chunk["content"] for chunk in found["chunks"]]


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_only_what_the_owner_may_read_is_found_however_it_is_searched(sql: Session, exact_up_to: int) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    document(sql, alice, *(f"north of alice {n}" for n in range(5)))
    document(sql, bob, *(f"north of bob {n}" for n in range(40)))
    document(sql, None, "north of nobody")
    found = context(sql, running(sql, alice), "north", exact_up_to=exact_up_to)
    assert sorted(contents(found)) == [f"north of alice {n}" for n in range(5)]
    assert all(chunk["text_position"] and chunk["vector_position"] for chunk in found["chunks"])


def test_a_row_that_is_nobody_s_reads_as_anon(sql: Session) -> None:
    public = document(sql, None, "for everybody")
    document(sql, sql.new_user(), "for one")
    sql.as_postgres()
    sql.run("create policy open on rowcall.documents for select to anon using (metadata ->> 'public' = 'yes')")
    sql.run('update rowcall.documents set metadata = \'{"public": "yes"}\' where id = %s', public)
    sql.as_service()
    found = context(sql, running(sql), "everybody")
    assert contents(found) == ["for everybody"]


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_policies_of_the_project_see_the_claims_with_which_the_row_was_inserted(sql: Session, exact_up_to: int) -> None:
    author, colleague = sql.new_user(tenant_id="acme"), sql.new_user(tenant_id="acme")
    document(sql, author, "shared with the team")
    sql.as_postgres()
    sql.run(
        """create policy "team" on rowcall.documents for select to authenticated using (
             metadata ->> 'team' = (select auth.jwt() -> 'app_metadata' ->> 'tenant_id'))"""
    )
    sql.run('update rowcall.documents set metadata = \'{"team": "acme"}\' where user_id = %s', author.id)
    sql.as_user(colleague)
    asked = str(sql.value('insert into rowcall.generations (input) values (\'{"question": "?"}\') returning id'))
    sql.as_service()
    sql.run("select * from rowcall.claim_generations_v1(array[%s::uuid], 'w', 30)", asked)
    assert contents(context(sql, asked, exact_up_to=exact_up_to)) == ["shared with the team"]
    stranger = running(sql, sql.new_user(tenant_id="other"))
    assert contents(context(sql, stranger, exact_up_to=exact_up_to)) == []


def test_policies_may_call_helpers_that_name_their_tables_without_a_schema(sql: Session) -> None:
    user = sql.new_user()
    shared = document(sql, None, "by membership")
    sql.as_postgres()
    sql.run("create table public.test_members (document_id uuid, member uuid)")
    sql.run("grant select on public.test_members to authenticated")
    sql.run("insert into public.test_members values (%s, %s)", shared, user.id)
    sql.run(
        """create function public.test_is_member(d uuid) returns boolean language plpgsql stable as $$ begin
             return exists (select from test_members m where m.document_id = d and m.member = auth.uid());
           end $$"""
    )
    sql.run("create policy members on rowcall.documents for select to authenticated using (public.test_is_member(id))")
    assert contents(context(sql, running(sql, user))) == ["by membership"]


def test_afterwards_the_caller_is_who_it_was_and_may_write(sql: Session) -> None:
    user = sql.new_user()
    document(sql, user, "text")
    id = running(sql, user)
    opens = [jsonb({"purpose": "answer", "provider": "p", "model": "m", "route": "fast"})]
    found = context(sql, id, opens=opens)
    assert sql.value("select current_user") == "service_role"
    call = sql.one("select * from rowcall.calls where id = %s", found["call_id"])
    assert (call["purpose"], call["route"], call["status"], str(call["user_id"])) == ("answer", "fast", "open", user.id)
    assert context(sql, id)["call_id"] is None


def test_the_nearest_come_first_and_words_are_found_beside_them(sql: Session) -> None:
    user = sql.new_user()
    document(sql, user, *(f"chunk number {n}" for n in range(6)), "the aardvark")
    found = context(sql, running(sql, user), "Where do aardvarks live?", max_chunks=3)
    assert contents(found) == ["chunk number 0", "chunk number 1", "chunk number 2", "the aardvark"]
    first, last = found["chunks"][0], found["chunks"][-1]
    assert (first["vector_position"], first["text_position"], first["similarity"]) == (1, None, pytest.approx(1.0))
    assert (last["vector_position"], last["text_position"]) == (None, 1)
    assert last["similarity"] == pytest.approx(1 / sqrt(1.36))
    assert (first["title"], first["heading_path"], first["ordinal"]) == ("T", ["Heading"], 0)


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_a_filter_narrows_and_never_widens(sql: Session, exact_up_to: int) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    blue = document(sql, alice, "blue", metadata={"team": "blue", "year": 2026})
    red = document(sql, alice, "red", metadata={"team": "red"})
    hers = document(sql, bob, "bob's", metadata={"team": "blue"})

    def found_with(**filter: Any) -> list[str]:
        id = running(sql, alice, input={"question": "?", "filter": filter})
        return sorted(contents(context(sql, id, "blue red bob", exact_up_to=exact_up_to)))

    assert found_with() == ["blue", "red"]
    assert found_with(document_ids=[red]) == ["red"]
    assert found_with(document_ids=[hers]) == []
    assert found_with(metadata={"team": "blue"}) == ["blue"]
    assert found_with(metadata={"team": "blue", "year": 2026}, document_ids=[blue, red, hers]) == ["blue"]
    assert found_with(document_ids=[]) == []


def test_what_a_filter_leaves_of_many_chunks_is_searched_exactly(sql: Session) -> None:
    user = sql.new_user()
    loud = document(sql, user)
    sql.run(
        """insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                       content_hash)
           select %s, 1, n, 'llama llama llama ' || n, 0, 1, 1, n::text from generate_series(1, 2001) n""",
        loud,
    )
    quiet = document(sql, user, "an old tale, in which once a llama stood")
    asked = running(sql, user, input={"question": "?", "filter": {"document_ids": [quiet]}})
    [found] = context(sql, asked, "llama", embedding_model="another", exact_up_to=100)["chunks"]
    assert found["text_position"] == 1, "2,001 others match better, and none of them was asked for"


def test_chunks_of_another_model_are_found_by_words_only_and_reported(sql: Session) -> None:
    user = sql.new_user()
    document(sql, user, "about llamas")
    found = context(sql, running(sql, user), "llamas", embedding_model="another")
    assert (contents(found), found["other_model"]) == (["about llamas"], True)
    assert found["chunks"][0]["vector_position"] is None
    assert not context(sql, running(sql, user))["other_model"]


def counted(sql: Session, *contents: str) -> User:
    """An owner of chunks that Postgres has gathered its statistics of, and of no others."""
    user = sql.new_user()
    sql.as_postgres()
    sql.run("delete from rowcall.chunks")
    document(sql, user, *contents)
    sql.as_postgres()
    sql.run("analyze rowcall.chunks")
    sql.as_service()
    return user


def test_how_common_the_words_of_a_question_are_is_told_once_they_are_counted(sql: Session) -> None:
    user = counted(sql, *(f"rows and chunk {n}" for n in range(30)), *(f"leases of row {n}" for n in range(10)))
    shares = context(sql, running(sql, user), "Do the LEASES of aardvarks expire with the rows?")["word_shares"]
    assert set(shares) == {"LEASES", "aardvarks", "expire", "rows"}
    assert shares["rows"] == pytest.approx(1.0)
    assert shares["LEASES"] == pytest.approx(0.25)
    assert 0 < shares["aardvarks"] == shares["expire"] < 0.25


def test_before_they_are_counted_any_word_is_searched_and_none_is_told(sql: Session) -> None:
    sql.as_service()
    assert sql.value("select rowcall.any_of('{leas,row}', '{}')::text") == "'leas' | 'row'"
    assert sql.value("select rowcall.word_shares('the leases', '{}')") == {}


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_words_of_most_chunks_find_nothing_beside_rarer_ones(sql: Session, exact_up_to: int) -> None:
    user = counted(sql, *(f"row chunk {n}" for n in range(30)), "leases expire", "a lease", "it expires")

    def found(question: str) -> list[str]:
        given = context(sql, running(sql, user), question, exact_up_to=exact_up_to, embedding_model="another")
        return sorted(contents(given))

    assert found("Does a row's lease expire?") == ["a lease", "it expires", "leases expire"]
    assert len(found("Does a row expire?")) == 30  # as many as there are places: one rare word may miss the subject


@pytest.mark.parametrize("question", ["", "?!", "the", "a | b & !c <-> 'd' \\ : *", "x" * 100_000])
def test_no_question_breaks_the_search(sql: Session, question: str) -> None:
    user = counted(sql, "text")
    assert contents(context(sql, running(sql, user), question)) == ["text"]


@pytest.mark.parametrize("exact_up_to", [EXACT, APPROXIMATE])
def test_examples_are_the_owner_s_own_and_of_the_kind(sql: Session, exact_up_to: int) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    document(sql, alice, "more than is searched exactly")
    for user, answer, kind in ((alice, "mine", "answer"), (bob, "his", "answer"), (alice, "other kind", "ingest")):
        sql.run(
            """insert into rowcall.examples (user_id, kind, question, answer, embedding, embedding_model)
               values (%s, %s, 'q', %s, %s, %s)""",
            user.id,
            kind,
            answer,
            vector(1),
            MODEL,
        )
    found = context(sql, running(sql, alice), max_examples=5, exact_up_to=exact_up_to)
    assert [(example["answer"], example["similarity"]) for example in found["examples"]] == [("mine", 1)]
    assert context(sql, running(sql, alice))["examples"] == []


# Fencing


@pytest.mark.parametrize(
    "call",
    ["context_v4(%s, 2, 'q', '[1]', 'm')", "read_document_v1(%s, 2)", "store_chunks_v1(%s, 2, 1, 'm', '{}', true)"],
)
def test_another_attempt_reads_and_writes_nothing(sql: Session, call: str) -> None:
    id = running(sql, sql.new_user())
    with sql.refused("PT409", "attempt.lost"):
        sql.value(f"select rowcall.{call}", id)


# Storing


def store(sql: Session, generation: str, revision: int, chunks: list[dict[str, Any]], *, is_last: bool = True) -> Any:
    rows = [
        {"content": content, "content_hash": content, "heading_path": [], "start_char": 0, "end_char": 1, "tokens": 1,
         "occurrence": 0, "ordinal": n, "embedding": vector(1)} | given
        for n, given in enumerate(chunks)
        for content in (given.get("content", "text"),)
    ]  # fmt: skip
    return sql.value(
        "select rowcall.store_chunks_v1(%s, 1, %s, %s, %s::jsonb[], %s)",
        generation,
        revision,
        MODEL,
        [jsonb(row) for row in rows],
        is_last,
    )


def test_the_document_says_what_of_it_is_ingested(sql: Session) -> None:
    user = sql.new_user()
    id = document(sql, user)
    generation = running(sql, user, kind="ingest", input={"document_id": id})
    assert store(sql, generation, 1, [{"content": "a"}], is_last=False) is None
    assert sql.value("select ingested_revision from rowcall.documents where id = %s", id) is None
    assert store(sql, generation, 1, [{"content": "b"}]) == 2
    found = sql.one("select ingested_revision, chunk_count, revision from rowcall.documents where id = %s", id)
    assert found == {"ingested_revision": 1, "chunk_count": 2, "revision": 1}


def test_a_page_that_is_refused_leaves_no_trace(sql: Session) -> None:
    user = sql.new_user()
    id = document(sql, user, "old")
    generation = running(sql, user, kind="ingest", input={"document_id": id})
    with sql.refused("PT409", "document.superseded"):
        store(sql, generation, 2, [{"content": "new"}])
    with sql.refused("PT409", "document.incomplete", "1 chunks"):
        store(sql, generation, 1, [{"content": "new", "embedding": None}])
    assert sql.column("select content from rowcall.chunks where document_id = %s", id) == ["old"]


def test_equal_chunks_of_one_document_are_told_apart_by_counting(sql: Session) -> None:
    user = sql.new_user()
    id = document(sql, user)
    generation = running(sql, user, kind="ingest", input={"document_id": id})
    assert store(sql, generation, 1, [{"content": "same", "occurrence": n} for n in range(3)]) == 3
