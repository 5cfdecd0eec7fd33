import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.local.statements import Statement, split_statements

# Pieces that hold a semicolon and end no statement.
PIECES = (
    "select 1",
    "select ';' as a",
    "select E'it\\'s; fine'",
    'select 1 as ";"',
    "do $$ begin perform 1; end $$",
    "do $body$ select '$$'; $body$",
    "select 1 /* ; /* ; */ ; */ + 2",
    "select 1 -- ;\n + 2",
    "create function f() returns int begin atomic select case when true then 1 end; select 2; end",
    "select a$1 from t",
)


@given(st.lists(st.sampled_from(PIECES)), st.sampled_from([";", " ;\n", ";\n-- between; them\n", ";;", "; /* ; */ "]))
def test_joined_statements_split_into_themselves(pieces: list[str], separator: str) -> None:
    assert tuple(s.text for s in split_statements(separator.join(pieces))) == tuple(pieces)


@given(st.text(alphabet="ab;'\"$-/*\n \\e"))
def test_every_statement_stands_in_the_text_on_its_line(sql: str) -> None:
    lines = sql.split("\n")
    before = 0
    for statement in split_statements(sql):
        assert statement.text.split("\n")[0] in lines[statement.line - 1]
        assert statement.line >= before
        before = statement.line


@pytest.mark.parametrize("sql", ["", "  \n", "-- only; this", "/* open ; ", ";;"])
def test_a_text_without_a_statement_has_none(sql: str) -> None:
    assert split_statements(sql) == ()


def test_lines_count_from_where_a_statement_begins_after_its_comments() -> None:
    sql = "-- a\n-- b\nselect 1;\n\n/* c */ select\n 2;"
    assert split_statements(sql) == (Statement("select 1", 3), Statement("select\n 2", 5))
