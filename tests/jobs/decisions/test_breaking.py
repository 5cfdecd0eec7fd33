from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.breaking import CLOSED, Breaking, Circuit, Verdict, admit, after, verdict_on

BREAKING = Breaking(failures=3, within_s=60.0, open_s=10.0, max_open_s=30.0, probe_s=5.0)

steps = st.lists(
    st.tuples(st.floats(min_value=0, max_value=50), st.sampled_from(["admit", "works", "broken", "unknown"])),
    max_size=60,
)


def played(history: list[tuple[float, str]]) -> list[tuple[float, str, bool, Circuit]]:
    """Each step's moment, name and answer, and the circuit after it."""
    circuit, now_s, seen = CLOSED, 1000.0, []
    for pause_s, step in history:
        now_s += pause_s
        answer = True
        match step:
            case "admit":
                answer, circuit = admit(circuit, now_s, BREAKING)
            case "works" | "broken" | "unknown":
                verdict: Verdict = step
                circuit = after(circuit, verdict, now_s, BREAKING)
        seen.append((now_s, step, answer, circuit))
    return seen


@given(steps)
def test_a_closed_circuit_admits_all_and_an_open_one_at_most_one_call_in_a_probe_s_time(
    history: list[tuple[float, str]],
) -> None:
    was_open, last_probe_s = False, -1e9
    for now_s, step, answer, circuit in played(history):
        if step == "admit":
            assert answer or was_open
            if was_open and answer:
                assert now_s >= last_probe_s + BREAKING.probe_s
                last_probe_s = now_s
        else:
            last_probe_s = -1e9  # a call's end is news: it may end the probe
        was_open = circuit.is_open()


@given(steps)
def test_a_success_always_closes_and_no_pause_is_longer_than_allowed(history: list[tuple[float, str]]) -> None:
    for _, step, _, circuit in played(history):
        assert circuit.open_s <= BREAKING.max_open_s
        if step == "works":
            assert circuit == CLOSED


@given(steps, st.floats(min_value=0, max_value=1e6))
def test_every_circuit_lets_a_call_try_in_the_end(history: list[tuple[float, str]], later_s: float) -> None:
    for now_s, _, _, circuit in played(history)[-1:]:
        is_admitted, _ = admit(circuit, now_s + BREAKING.max_open_s + BREAKING.probe_s + later_s, BREAKING)
        assert is_admitted


def test_three_failures_in_a_row_open_it_and_each_failed_probe_doubles_the_pause() -> None:
    circuit = CLOSED
    for at_s in (0.0, 1.0, 2.0):
        assert not circuit.is_open()
        circuit = after(circuit, "broken", at_s, BREAKING)
    assert circuit.is_open()
    assert admit(circuit, 11.9, BREAKING) == (False, circuit)
    is_admitted, probing = admit(circuit, 12.0, BREAKING)
    assert is_admitted
    assert admit(probing, 13.0, BREAKING) == (False, probing)  # one at a time
    again = after(probing, "broken", 14.0, BREAKING)
    assert again.open_s == 20.0
    assert not admit(again, 33.9, BREAKING)[0]
    assert admit(again, 34.0, BREAKING)[0]
    assert after(again, "works", 35.0, BREAKING) == CLOSED


def test_a_probe_that_told_nothing_leaves_the_turn_to_the_next_call() -> None:
    circuit = Circuit(3, 2.0, opened_at_s=2.0, open_s=10.0)
    _, probing = admit(circuit, 12.0, BREAKING)
    assert not admit(probing, 12.1, BREAKING)[0]
    held_up = after(probing, verdict_on("model.limited"), 12.1, BREAKING)
    assert admit(held_up, 12.2, BREAKING)[0], "and it stays open for as long as before"
    assert after(CLOSED, "unknown", 3.0, BREAKING) == CLOSED


def test_failures_far_apart_do_not_add_up() -> None:
    circuit = CLOSED
    for at_s in (0.0, 61.0, 122.0, 183.0):
        circuit = after(circuit, "broken", at_s, BREAKING)
    assert not circuit.is_open()


def test_a_limit_says_nothing_of_a_provider_s_health_and_a_refusal_says_that_it_works() -> None:
    assert verdict_on(None) == verdict_on("model.refused") == "works"
    assert verdict_on("model.timeout") == verdict_on("model.unauthorized") == "broken"
    assert verdict_on("model.rate_limited") == "unknown"
    assert verdict_on("attempt.lost") == "unknown"
