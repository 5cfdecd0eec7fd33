"""Documents that are known already, and documents that are ingested once more."""

from hashlib import sha256
from typing import Any

from tests.sql.session import Session, User, vector

FIRST = "00000000-0000-0000-0000-000000000000"


def document(sql: Session, user: User, source: str, content: str = "text") -> str:
    """Written by its owner, who asks afterwards."""
    sql.as_user(user)
    return str(
        sql.value("insert into rowcall.documents (source, content) values (%s, %s) returning id", source, content)
    )


def chunk(sql: Session, document_id: str, model: str) -> None:
    sql.as_service()
    sql.run(
        """insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                       content_hash, embedding, embedding_model)
           values (%s, 1, 0, 'text', 0, 4, 1, %s, %s, %s)""",
        document_id,
        model,
        vector(1.0),
        model,
    )


def ended(sql: Session, document_id: str, status: str = "succeeded") -> str:
    """Ends the document's ingest; its id."""
    sql.as_postgres()
    id = str(sql.value("select generation_id from rowcall.documents where id = %s", document_id))
    sql.run("update rowcall.generations set status = 'running' where id = %s", id)
    sql.run("update rowcall.generations set status = %s, finished_at = now() where id = %s", status, id)
    return id


def ingests(sql: Session, document_id: str) -> int:
    sql.as_postgres()
    return int(sql.value("select count(*) from rowcall.generations where input ->> 'document_id' = %s", document_id))


def reembed(sql: Session, model: str, after: str = FIRST, max_rows: int = 100) -> list[dict[str, Any]]:
    sql.as_service()
    return sql.all("select * from rowcall.reembed_documents_v2(%s, false, %s, %s)", model, after, max_rows)


def test_an_owner_hears_what_is_stored_of_a_source_and_what_became_of_it(sql: Session) -> None:
    user = sql.new_user()
    id = document(sql, user, "a.md", "Grüße")
    found = sql.one("select * from rowcall.known_documents(array['a.md', 'b.md'])")
    assert (str(found["id"]), found["source"], found["media_type"]) == (id, "a.md", "text/markdown")
    assert found["content_sha256"] == sha256("Grüße".encode()).hexdigest()
    assert (found["is_ingested"], found["status"], found["error"]) == (False, "queued", None)
    ended(sql, id, "failed")
    sql.as_user(user)
    assert sql.one("select status from rowcall.known_documents(array['a.md'])")["status"] == "failed"


def test_nobody_hears_of_a_document_of_others_nor_has_it_ingested(sql: Session) -> None:
    owner, stranger = sql.new_user(), sql.new_user()
    id = document(sql, owner, "a.md")
    ended(sql, id)
    sql.run("create policy team on rowcall.documents for select to authenticated using (true)")
    sql.as_user(stranger)
    assert sql.all("select * from rowcall.known_documents(array['a.md'])") == []
    assert sql.all("select * from rowcall.ingest_again(array[%s]::uuid[])", id) == []
    assert ingests(sql, id) == 1


def test_an_ingest_that_has_ended_is_done_again_and_one_that_has_not_is_kept(sql: Session) -> None:
    user = sql.new_user(tenant_id="acme")
    done, waits = document(sql, user, "a.md"), document(sql, user, "b.md")
    before = ended(sql, done, "failed")
    sql.as_user(user)
    again = {row["source"]: row for row in sql.all("select * from rowcall.ingest_again(%s::uuid[])", [done, waits])}
    assert str(again["a.md"]["generation_id"]) != before
    assert (ingests(sql, done), ingests(sql, waits)) == (2, 1)
    made = sql.one("select * from rowcall.generations where id = %s", again["a.md"]["generation_id"])
    assert (str(made["user_id"]), made["tenant"]) == (user.id, "acme")
    assert (made["origin"], made["kind"], made["status"]) == ("document", "ingest", "queued")
    assert sql.value("select generation_id from rowcall.documents where id = %s", done) == made["id"]


def test_documents_of_another_model_are_ingested_by_pages_each_once(sql: Session) -> None:
    users = [sql.new_user() for _ in range(2)]
    documents = [document(sql, users[number % 2], f"{number}.md") for number in range(4)]
    for id, model in zip(documents, ("new", "old", "old", "older"), strict=True):
        chunk(sql, id, model)
        ended(sql, id)
    assert sql.value("select rowcall.documents_to_reembed_v2('new', false)") >= 3
    asked, after = list[str](), FIRST
    while page := reembed(sql, "new", after, 2):
        assert len(page) <= 2
        after = str(page[-1]["id"])
        asked += [str(row["id"]) for row in page]
    assert asked == sorted(asked)
    assert set(documents) & set(asked) == set(documents[1:])
    reembed(sql, "new")  # they are under way
    bare = sql.value("select rowcall.documents_to_reembed_v2('new', true)")
    assert bare > sql.value("select rowcall.documents_to_reembed_v2('new', false)"), "no sentence is embedded"
    assert [ingests(sql, id) for id in documents] == [1, 2, 2, 2]
