import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.falling_back import Chains, Failure, cause_of, next_routes, telling_error
from jobs.errors import JobError, Permanent, Refused, Retryable

ROUTES = ("a", "b", "c", "d", "e")
CODES = (
    "model.timeout",
    "model.rate_limited",
    "model.context_too_long",
    "model.refused",
    "model.limited",
    "database.refused",
)

chain = st.lists(st.sampled_from(ROUTES), max_size=5).map(tuple)
chains = st.builds(Chains, chain, chain, chain, chain)


@given(st.sampled_from(ROUTES), chains, st.lists(st.sampled_from(CODES), min_size=20, max_size=20))
def test_whatever_fails_no_route_is_asked_twice_and_none_outside_of_the_first_one_s_chains(
    first: str, chains: Chains, codes: list[str]
) -> None:
    asked: list[Failure] = []
    for code in codes:
        left = next_routes(first, chains, asked)
        assert len(set(left)) == len(left)
        if not left:
            break
        asked.append(Failure(left[0], code))
    names = [failure.route for failure in asked]
    assert names[0] == first
    assert len(set(names)) == len(names)
    assert set(names) <= {first, *chains.errors, *chains.context_too_long, *chains.refusals, *chains.limits}


@given(st.sampled_from(ROUTES), chains, st.sampled_from(CODES))
def test_the_cause_of_a_failure_says_which_chain_goes_on(first: str, chains: Chains, code: str) -> None:
    by_cause = {
        "error": chains.errors,
        "context_too_long": chains.context_too_long,
        "refusal": chains.refusals,
        "limit": chains.limits,
        None: (),
    }
    wanted = [name for name in by_cause[cause_of(code)] if name != first]
    assert next_routes(first, chains, [Failure(first, code)]) == tuple(dict.fromkeys(wanted))


def test_a_long_prompt_and_a_refusal_and_an_outage_each_go_their_own_way() -> None:
    chains = Chains(errors=("cheap", "other"), context_too_long=("long",), refusals=("bold",))
    assert next_routes("first", chains, []) == ("first", "cheap", "other")
    assert next_routes("first", chains, [Failure("first", "model.context_too_long")]) == ("long",)
    assert next_routes("first", chains, [Failure("first", "model.refused")]) == ("bold",)
    failures = [Failure("first", "model.refused"), Failure("bold", "model.unavailable")]
    assert next_routes("first", chains, failures) == ("cheap", "other")


@given(
    st.sampled_from(ROUTES), chains, st.lists(st.tuples(st.sampled_from(ROUTES), st.sampled_from(CODES)), max_size=5)
)
def test_a_limit_of_our_own_changes_nothing_but_that_its_route_is_not_asked(
    first: str, chains: Chains, told: list[tuple[str, str]]
) -> None:
    failures = [Failure(route, code) for route, code in told]
    if any(cause_of(failure.code) != "limit" for failure in failures):
        without = [failure for failure in failures if cause_of(failure.code) != "limit"]
        limited = {failure.route for failure in failures} - {failure.route for failure in without}
        expected = [name for name in next_routes(first, chains, without) if name not in limited]
        assert list(next_routes(first, chains, failures)) == expected


def test_a_route_that_is_limited_by_us_is_waited_for_unless_its_configuration_names_another() -> None:
    limited = [Failure("first", "model.limited")]
    assert next_routes("first", Chains(errors=("dear",)), limited) == ()
    assert next_routes("first", Chains(errors=("dear",), limits=("cheap",)), limited) == ("cheap",)


def temporary(wait_s: float | None) -> Retryable:
    return Retryable("model.rate_limited", "later", wait_s=wait_s)


@pytest.mark.parametrize(
    ("errors", "telling"),
    [
        ([temporary(20.0), temporary(3.0)], 1),
        ([temporary(20.0), Permanent("model.unauthorized", "no")], 0),
        ([Refused("model.refused", "no"), temporary(None)], 1),
        ([Refused("model.refused", "no"), Permanent("model.not_found", "no")], 0),
    ],
)
def test_of_several_errors_a_temporary_one_counts_and_else_the_first(errors: list[JobError], telling: int) -> None:
    assert telling_error(errors) is errors[telling]
