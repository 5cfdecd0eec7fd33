from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import Permanent, Postponed, Refused, Retryable, Superseded
from jobs.ports import Finished
from worker.settling import End, Finish, Policy, Release, Retry, backoff_s, settle

POLICY = Policy(max_tries=5, backoff_base_s=1.0, backoff_cap_s=60.0, max_tries_of_bugs=2)
chances = st.floats(0, 1, exclude_max=True)
tries = st.integers(1, 100)
retryable = st.builds(Retryable, st.just("model.timeout"), st.text(), wait_s=st.none() | st.floats(0, 3600))
outcomes = st.one_of(
    st.builds(Finished, answer=st.text(), needs_review=st.booleans()),
    retryable,
    st.builds(Permanent, st.just("input.invalid"), st.text()),
    st.builds(Refused, st.just("policy.refused"), st.text()),
    st.builds(Superseded, st.text()),
    st.builds(ValueError, st.text()),
)


@given(outcomes, tries, chances)
def test_every_outcome_ends_or_goes_back_with_an_error_that_has_a_code(
    outcome: Finished | Exception, tries: int, chance: float
) -> None:
    match settle(outcome, tries=tries, policy=POLICY, chance=chance):
        case Finish():
            assert isinstance(outcome, Finished | Superseded)
        case End(_, error) | Retry(_, error):
            assert "." in error["code"]
        case other:
            raise AssertionError(other)


@given(outcomes, st.integers(5, 100), chances)
def test_nothing_is_retried_once_the_tries_are_used_up(
    outcome: Finished | Exception, tries: int, chance: float
) -> None:
    assert not isinstance(settle(outcome, tries=tries, policy=POLICY, chance=chance), Retry)


@given(retryable, st.integers(1, 4), chances)
def test_a_retry_waits_at_least_as_long_as_the_other_side_asked(outcome: Retryable, tries: int, chance: float) -> None:
    settlement = settle(outcome, tries=tries, policy=POLICY, chance=chance)
    assert isinstance(settlement, Retry)
    assert settlement.wait_s >= (outcome.wait_s or 0)


@given(tries, chances, st.floats(0, 3600))
def test_what_our_own_limits_hold_up_goes_back_untried_however_often(tries: int, chance: float, wait_s: float) -> None:
    postponed = Postponed("model.limited", "later", wait_s=wait_s)
    assert settle(postponed, tries=tries, policy=POLICY, chance=chance) == Release(wait_s)


@given(tries, chances)
def test_a_backoff_stays_below_its_cap_and_its_power_of_two(tries: int, chance: float) -> None:
    assert 0 <= backoff_s(tries, POLICY, chance) < min(60.0, 2.0 ** (tries - 1)) or chance == 0


def test_a_bug_gets_one_more_attempt_and_its_text_stays_out_of_the_row() -> None:
    bug = KeyError("sk-secret in the user's question")
    first = settle(bug, tries=1, policy=POLICY, chance=0.5)
    second = settle(bug, tries=2, policy=POLICY, chance=0.5)
    assert isinstance(first, Retry)
    assert second == End("failed", first.error)
    assert first.error["code"] == "internal.unexpected"
    assert "secret" not in str(first.error)


def test_a_refusal_keeps_its_text_for_the_user() -> None:
    refusal = Refused("policy.topic", "I cannot help with this.")
    assert settle(refusal, tries=1, policy=POLICY, chance=0) == End(
        "refused", {"code": "policy.topic", "message": "I cannot help with this."}
    )
