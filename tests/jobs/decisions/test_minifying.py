import json

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from jobs.decisions.minifying import LEFT_OUT, Rows
from jobs.decisions.outline import Kind
from tests.jobs.decisions.documents import count_words

MARKDOWN = MarkdownIt("commonmark").enable("table")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
cells = st.text(alphabet='ab1.:-`\\\u2026 *_[]"é', max_size=6)


def fenced(body: str, language: str = "json") -> str:
    return f"```{language}\n{body}\n```\n\n"


def body(block: str) -> str:
    return block.split("\n", 1)[1].rpartition("\n```")[0]


def table_cells(markdown: str) -> list[str]:
    return [token.content for token in MARKDOWN.parse(markdown) if token.type == "inline"]


@given(values, st.sampled_from([None, 0, 2, "\t"]))
def test_json_means_the_same_and_takes_no_more_room(value: object, indent: int | str | None) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=False)
    rows = Rows.of(Kind.CODE, fenced(written))
    assert rows
    assert json.loads(body(rows.whole)) == value
    assert len(rows.whole) <= len(fenced(written))
    assert rows.whole == fenced(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@given(st.text(alphabet='{}[]",: \n1a\\', max_size=30))
def test_what_is_no_json_is_left_alone(text: str) -> None:
    rows = Rows.of(Kind.CODE, fenced(text))
    try:
        value = json.loads(text)
    except ValueError:
        assert rows is None
    else:
        assert rows
        assert json.loads(body(rows.whole)) == value


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(cells, min_size=1, max_size=width + 1), max_size=6)))
def test_no_cell_of_a_table_is_lost_or_changed(rows: list[list[str]]) -> None:
    written = ["|  name |   value   |", " :--- | ---: ", *(f"|  {'  |  '.join(row)}   |" for row in rows)]
    table = "\n".join(written) + "\n\n[link]: https://example.com\n"
    found = Rows.of(Kind.TABLE, table)
    assert found
    assert table_cells(found.whole) == table_cells(table)
    assert len(found.whole) <= len(table)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20), st.integers(0, 60))
def test_what_is_kept_of_a_table_is_its_header_and_rows_in_order_within_the_budget(
    numbers: list[int], budget: int
) -> None:
    table = "\n".join(("| n | v |", "|---|---|", *(f"| {n} | row {place} |" for place, n in enumerate(numbers))))
    rows = Rows.of(Kind.TABLE, table)
    assert rows
    kept = rows.best(["7"], budget_tokens=budget, count_tokens=count_words)
    if kept is None:
        return
    assert count_words(kept) <= budget
    header, delimiter, *lines = kept.splitlines()
    assert (header, delimiter) == ("|n|v|", "|-|-|")
    places = [rows.rows.index(line) for line in lines if LEFT_OUT not in line]
    assert places == sorted(places)
    assert (len(places) < len(numbers)) == (f"|{LEFT_OUT}|" in lines)


def test_the_rows_that_match_are_kept_with_a_mark_for_the_others() -> None:
    table = "| code | meaning |\n|------|---------|\n| 401 | secret |\n| 413 | too large |\n| 503 | backlog |\n"
    rows = Rows.of(Kind.TABLE, table)
    assert rows
    assert rows.best(["413"], budget_tokens=22, count_tokens=count_words) == (
        f"|code|meaning|\n|-|-|\n|{LEFT_OUT}|\n|413|too large|\n|{LEFT_OUT}|\n"
    )


def test_the_members_of_json_that_match_are_kept() -> None:
    rows = Rows.of(Kind.CODE, fenced('[\n  {"id": 1, "a": [1, 2]},\n  {"id": 2},\n  {"id": 3, "b": "x, ]"}\n]'))
    assert rows
    assert rows.rows == ('{"id":1,"a":[1,2]}', '{"id":2}', '{"id":3,"b":"x, ]"}')
    assert rows.only([0, 2]) == fenced(f"[{rows.rows[0]},{LEFT_OUT},{rows.rows[2]}]")


def test_lines_of_csv_are_rows() -> None:
    rows = Rows.of(Kind.CODE, fenced("a,b\n1,2\n3,4", "csv"))
    assert rows
    assert rows.only([1]) == fenced(f"a,b\n{LEFT_OUT}\n3,4", "csv")
    assert Rows.of(Kind.CODE, fenced('a\n"1\n2"', "csv")) is None
