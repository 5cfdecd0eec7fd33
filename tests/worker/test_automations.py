from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from worker.automations import Automation, identifier, literal

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)


@given(TEXT)
def test_a_text_is_quoted_as_the_driver_quotes_it(text: str) -> None:
    driver = sql.Literal(text).as_string(None)
    if "\\" not in text:  # the driver writes E'…' then; standard strings take a backslash as it is
        assert literal(text) == driver.lstrip()


@given(TEXT)
def test_a_name_is_either_plain_or_quoted_as_the_driver_quotes_it(name: str) -> None:
    assert identifier(name) in {name, sql.Identifier(name).as_string(None)}
    assert identifier(name) != name or ((name.isascii() and name.islower()) or set(name) <= set("_0123456789"))


@pytest.mark.parametrize("name", ["order", "user", "Posts", "a b", 'a"b', "1a", "ä"])
def test_names_that_sql_would_read_otherwise_are_quoted(name: str) -> None:
    assert identifier(name) == sql.Identifier(name).as_string(None)


def test_the_trigger_asks_again_when_a_column_of_its_template_changes() -> None:
    automation = Automation("public", "posts", "fill_summary", "summary", "{{ title }}: {{body}} {{body}} {{summary}}")
    assert automation.statement == (
        "create or replace trigger fill_summary after insert or update of title, body on public.posts\n"
        "  for each row\n"
        "  execute function rowcall.generate('complete', '{{ title }}: {{body}} {{body}} {{summary}}', 'summary');\n"
    )


def test_everything_that_can_be_said_is_said() -> None:
    automation = Automation(
        "my schema", "order", "it's", "Sum", "It's {{body}}", "answer", ("a", "B"), "new.a > 1", ("owner=user_id",)
    )
    assert automation.statement == (
        'create or replace trigger "it\'s" after insert or update of a, "B" on "my schema"."order"\n'
        "  for each row when (new.a > 1)\n"
        "  execute function rowcall.generate('answer', 'It''s {{body}}', 'Sum', 'owner=user_id');\n"
    )
    now = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)
    assert automation.file_name(now) == "20261125010203_automation_order_it_s.sql"


def test_a_template_without_columns_is_asked_once() -> None:
    assert "after insert on public.posts" in Automation("public", "posts", "n", "c", "Tell a joke.").statement
