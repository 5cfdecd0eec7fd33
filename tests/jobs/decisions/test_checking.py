import json
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.checking import ADMISSIONS, CHECKS, Answer, Check, failed_checks

texts = st.text(max_size=300) | st.text(alphabet='[]1,9{}":`~\n .=+<>(', max_size=120)
answers = st.builds(Answer, texts, st.sampled_from(("stop", "length")), st.none() | st.integers(0, 9))
some_checks = st.sets(st.sampled_from(CHECKS)).map(tuple)


def fails(check: Check, text: str, *, passages: int | None = None, finish: Any = "stop") -> bool:
    return failed_checks(Answer(text, finish, passages), (check,)) == (check,)


@given(answers, some_checks)
def test_every_answer_can_be_checked_and_each_check_judges_by_itself(answer: Answer, checks: tuple[Check, ...]) -> None:
    failed = failed_checks(answer, checks)
    assert set(failed) <= set(checks)
    assert failed == tuple(check for check in failed_checks(answer, CHECKS) if check in checks)


@given(answers)
def test_nothing_fails_where_nothing_is_checked(answer: Answer) -> None:
    assert failed_checks(answer, ()) == ()


@given(texts, st.integers(1, 9))
def test_an_answer_that_was_cut_ends_early_however_it_ends(text: str, passages: int) -> None:
    assert fails("ending", text, finish="length", passages=passages)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n), min_size=1, max_size=5))))
def test_citations_of_given_passages_pass_and_one_more_fails(given: tuple[int, list[int]]) -> None:
    passages, numbers = given
    text = "So it is " + "".join(f"[{n}]" for n in numbers) + "."
    assert not fails("citations", text, passages=passages)
    assert fails("citations", f"{text} And so [{passages + 1}].", passages=passages)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_json_passes_whole_and_fails_cut(value: Any) -> None:
    text = json.dumps({"value": value})
    for whole, cut in ((text, text[:-1]), (f"```json\n{text}\n```", f"```json\n{text[:-1]}\n```")):
        assert not fails("ending", whole)
        assert fails("ending", cut)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "It is so. Then it",
        "It is so. There are two,",
        "The sum is (",
        "Run this:\n\n```sh\nls",
        '{"a": 1',
        "a total of 15 + 25 = <<15+2",
    ],
)
def test_an_ending_that_is_none(text: str) -> None:
    assert fails("ending", text)


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "red, green, blue",
        "It is so.",
        "It is so [1].",
        'He said: "It is so."',
        "It is so. The reasons:\n\n- one\n- another thing",
        "Run this. Then wait.\n\n```sh\nls\n```",
        "It takes 3.5 s. See [the page](http://x.y/z)",
        "Thanks for writing. We will look.\n\nKind regards,\nAnna",
        "{name} is a placeholder. So it is.",
        "[1] says so.",
        '{"a": [1, 2]}',
        "It is 3. #### 12",
        "Ja. \u65e5\u672c\u8a9e\u3067\u3059\u3002",
    ],
)
def test_an_ending(text: str) -> None:
    assert not fails("ending", text)


def test_an_answer_from_passages_cites_one_of_them() -> None:
    assert fails("citations", "It is so.", passages=3)
    assert fails("citations", "It is so [4].", passages=3)
    assert fails("citations", "It is so `[1]`.", passages=3)
    assert not fails("citations", "It is so [3].", passages=3)
    assert not fails("citations", "It is so.", passages=None)  # a job without passages
    assert not fails("citations", "It is so.", passages=0)  # nothing was found


def test_who_admits_to_know_nothing_has_nothing_to_cite() -> None:
    assert not fails("citations", "I do not know.", passages=3)


def test_ignorance_fails_where_something_was_there_to_be_known() -> None:
    assert fails("ignorance", "I don\u2019t know.", passages=3)
    assert fails("ignorance", "I don't know.", passages=None)
    assert not fails("ignorance", "I do not know.", passages=0)  # right, and no model can say more
    assert not fails("ignorance", "The passages do not say when, but it is blue [2].", passages=3)  # a part of it
    assert not fails("ignorance", "It is blue. " * 30 + "Why, I do not know.", passages=3)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The passages do not contain this."),
        ("en", "I'm sorry, but I cannot answer that."),
        ("de", "Das wei\u00df ich nicht; ich kann die Frage nicht beantworten."),
        ("fr", "Je ne sais pas."),
        ("es", "No lo s\u00e9."),
        ("it", "Non lo so."),
        ("pt", "N\u00e3o sei."),
        ("nl", "Ik weet het niet."),
        ("pl", "Nie wiem."),
        ("ru", "\u042f \u043d\u0435 \u0437\u043d\u0430\u044e."),
        ("zh", "\u6211\u4e0d\u77e5\u9053\u3002"),
        ("ja", "\u308f\u304b\u308a\u307e\u305b\u3093\u3002"),
    ],
)
def test_ignorance_is_admitted_in_many_languages(language: str, text: str) -> None:
    assert language in ADMISSIONS
    assert fails("ignorance", text)


@pytest.mark.parametrize(
    "text",
    [
        "The plan does not include backups.",
        "No data is sent.",
        "You cannot know this before.",
        "Er wei\u00df es nicht.",
    ],
)
def test_a_no_is_not_ignorance(text: str) -> None:
    assert not fails("ignorance", text)


def test_a_wrong_calculation_fails() -> None:
    assert fails("arithmetic", "So there are 15 + 25 = <<15+25=41>>41 cups.")
    assert not fails("arithmetic", "So there are 15 + 25 = <<15+25=40>>40 cups.")
    assert not fails("arithmetic", "There is nothing to calculate.")


@pytest.mark.parametrize(
    "text", ["[" * 20_000, "{" * 20_000, "`" * 20_000, "a " * 20_000, "[1," * 9_000, "1 1" * 9_000]
)
def test_no_text_costs_much(text: str) -> None:
    assert len(failed_checks(Answer(text, "stop", 3), CHECKS)) <= len(CHECKS)


def test_every_subset_of_checks_may_be_chosen() -> None:
    bad = Answer("I don't know: 1 + 1 = 3", "length", 2)
    for chosen in chain.from_iterable(combinations(CHECKS, n) for n in range(5)):
        assert set(failed_checks(bad, chosen)) == set(chosen) - {"citations"}
