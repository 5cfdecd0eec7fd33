from typing import Any

import pytest

from worker.doctor.findings import Level
from worker.doctor.judging import Answer, judge_api, judge_clock, judge_migrations, judge_provider, judge_webhook

URL = "https://intake.example.com/webhooks/supabase"


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({"status_code": 202, "error": None}, "reaches intake"),
        ({"status_code": 401, "error": None}, "refuses the database's signature"),
        ({"status_code": 404, "error": None}, "answers 404 instead of 202"),
        ({"status_code": 302, "error": None}, "answers 302 instead of 202"),
        ({"status_code": None, "error": "Couldn't resolve host"}, "Couldn't resolve host"),
        (None, "has sent nothing"),
    ],
)
def test_what_became_of_a_webhook_is_said(response: dict[str, Any] | None, says: str) -> None:
    found = judge_webhook(response, URL)
    assert says in found.says
    assert (found.level is Level.GOOD) == (says == "reaches intake")
    assert (found.cure == "") == (found.level is Level.GOOD)


def test_an_address_of_this_machine_is_no_address_for_a_hosted_database() -> None:
    found = judge_webhook({"status_code": None, "error": "refused"}, "http://localhost:8080/webhooks/supabase")
    assert "only your machine knows" in found.cure


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        (Answer(200, body=[]), "schema"),
        (Answer(0, message="ConnectError"), "project"),
        (Answer(401, message="Invalid API key"), "secret key"),
        (Answer(403, "42501", "permission denied"), "secret key"),
        (Answer(401, "42501", "permission denied"), "secret key"),
        (Answer(406, "PGRST106", "Invalid schema: rowcall"), "schema"),
        (Answer(404, "PGRST205", "Could not find the table"), "migrations"),
        (Answer(503, "", "Service Unavailable"), "schema"),
    ],
)
def test_an_answer_of_the_api_says_where_to_look(answer: Answer, check: str) -> None:
    found = judge_api(answer)
    assert found.check == check
    assert (found.level is Level.GOOD) == answer.is_success


@pytest.mark.parametrize(
    ("applied", "shipped", "level"),
    [
        (["1", "2", "of another"], ["1", "2"], Level.GOOD),
        (["1"], ["1", "2"], Level.PROBLEM),
        (None, ["1"], Level.NOTE),
        (["1"], [], Level.NOTE),
    ],
)
def test_migrations_are_compared_with_those_of_the_code(
    applied: list[str] | None, shipped: list[str], level: Level
) -> None:
    assert judge_migrations(applied, shipped).level is level


@pytest.mark.parametrize(
    ("skew_s", "level"), [(0.0, Level.GOOD), (-1.9, Level.GOOD), (-30.0, Level.NOTE), (301.0, Level.PROBLEM)]
)
def test_a_clock_may_be_a_little_off(skew_s: float, level: Level) -> None:
    assert judge_clock(skew_s).level is level


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (Answer(200, body={"data": [{"id": "m"}, {"id": "other"}]}), Level.GOOD),
        (Answer(200, body={"data": [{"id": "other"}]}), Level.PROBLEM),
        (Answer(200, body="html"), Level.PROBLEM),
        (Answer(401), Level.PROBLEM),
        (Answer(404), Level.NOTE),
        (Answer(0, message="ConnectError"), Level.PROBLEM),
    ],
)
def test_a_provider_knows_the_models_that_are_wanted(answer: Answer, level: Level) -> None:
    assert judge_provider("p", "P_KEY", answer, ["m"]).level is level
