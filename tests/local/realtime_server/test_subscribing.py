from typing import Any

import pytest

from worker.local.realtime_server.filters import Filter, Operator
from worker.local.realtime_server.pgoutput import ChangeKind
from worker.local.realtime_server.subscribing import Binding, InvalidSubscription, parse_binding, unknown_table


@pytest.mark.parametrize(
    ("params", "binding"),
    [
        ({"schema": "public"}, Binding("*", "public", "*", (), None)),
        ({"table": "notes"}, Binding("*", "public", "notes", (), None)),
        ({"event": "insert", "schema": "*", "table": "notes"}, Binding("INSERT", "*", "notes", (), None)),
        ({"event": "TRUNCATE", "table": "notes", "filter": None}, Binding("*", "public", "notes", (), None)),
        ({"table": "notes", "select": ["a", 1, "b"]}, Binding("*", "public", "notes", (), ("a", "b"))),
        ({"table": "notes", "select": []}, Binding("*", "public", "notes", (), None)),
        (
            {"table": "notes", "filter": "id=eq.1"},
            Binding("*", "public", "notes", (Filter("id", Operator.EQ, "1", negated=False),), None),
        ),
    ],
)
def test_what_a_client_asks_for_is_read(params: dict[str, Any], binding: Binding) -> None:
    assert parse_binding(params) == binding


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "No subscription params provided"),
        ({"schema": 1, "table": "notes"}, "No subscription params provided"),
        ({"table": "notes", "filter": 5}, "Error parsing `filter` params"),
        ({"table": "notes", "filter": "undefined"}, 'Error parsing `filter` params: ["undefined"]'),
        ({"table": "notes", "select": "a,b"}, "expected a list of column name strings"),
        ({"schema": "public", "select": ["a"]}, "not supported for wildcard subscriptions"),
    ],
)
def test_what_makes_no_sense_is_refused(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSubscription) as refusal:
        parse_binding(params)
    assert reason in str(refusal.value)


def test_a_binding_wants_its_kind_of_change() -> None:
    any_, inserts = parse_binding({"table": "t"}), parse_binding({"table": "t", "event": "INSERT"})
    assert [any_.wants(kind) for kind in ChangeKind] == [True, True, True]
    assert [inserts.wants(kind) for kind in ChangeKind] == [True, False, False]


def test_a_refusal_names_the_parameters_as_the_real_server_does() -> None:
    binding = parse_binding({"event": "INSERT", "table": "t", "filter": "a=not.in.(1,2)", "select": ["a", "b"]})
    assert str(unknown_table(binding)).endswith(
        'parameters: [event: INSERT, schema: public, table: t, filters: [{"a", "in", "{1,2}", true}], '
        'select: ["a", "b"]]',
    )
    assert binding.describe().count("nil") == 0
    assert parse_binding({"table": "t"}).describe().endswith("filters: [], select: nil]")
