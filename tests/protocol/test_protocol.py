"""What holds in every state that the protocol can reach, and which rule each of these things hangs on."""

import pytest

from tests.protocol.exploring import Explored, explore
from tests.protocol.model import Alarm, Faults, Protocol

TWO_ANSWERS: Alarm = "a second answer becomes visible"
NOT_THE_HOLDER: Alarm = "a write-back is accepted of an attempt that does not hold the row"
TAKEN_FROM_THE_LIVING: Alarm = "a row is taken from a worker that neither died nor stopped"

NORMAL = {
    "row 0 is inserted, its webhook is lost",
    "row 0 is inserted, its webhook comes twice",
    "the sweeper finds row 0",
    "the claim of row 0 is declined",
    "attempt 1 is renewed",
    "finish of attempt 1 reaches row 0",
}
INSTANCES = {
    "nothing goes wrong": Protocol(),
    "deaths, stops, lost replies": Protocol(faults=Faults(deaths=2, stops=2, lost_replies=1)),
    "the queue is lost twice": Protocol(faults=Faults(deaths=1, stops=1, lost_queues=2)),
    "the model fails, the owner cancels": Protocol(faults=Faults(stops=1, lost_replies=1, errors=1, cancels=1)),
    "workers are told to stop": Protocol(faults=Faults(deaths=1, stops=1, lost_replies=1, shutdowns=1)),
    "three workers": Protocol(workers=3, faults=Faults(deaths=1, stops=1, lost_replies=1)),
    "two rows, a death": Protocol(rows=2, faults=Faults(deaths=1, lost_queues=1)),
    "two rows, a stop": Protocol(rows=2, faults=Faults(stops=1)),
}


def told(explored: Explored) -> str:
    """The story, for the message of a failed assertion."""
    return "\n".join(explored.story)


@pytest.mark.parametrize("protocol", INSTANCES.values(), ids=INSTANCES.keys())
def test_one_answer_by_the_attempt_that_holds_the_row_and_every_row_ends(protocol: Protocol) -> None:
    """No alarm in any state; and from each, without a further fault, there is a way to the end of every row.

    So a row can only fail to end if one of its workers, or the sweeper, forever puts off a step that it could take.
    """
    explored = explore(protocol)
    assert explored.alarm is None, told(explored)
    assert explored.stuck == 0, told(explored)
    assert explored.steps >= NORMAL


def test_without_the_fence_a_second_answer_becomes_visible() -> None:
    explored = explore(Protocol(fence="none", faults=Faults(stops=1)), frozenset({TWO_ANSWERS}))
    assert explored.alarm == TWO_ANSWERS
    assert explored.story[-1].startswith("finish of attempt"), told(explored)


def test_a_fence_that_asks_for_a_running_row_alone_lets_a_stale_attempt_answer() -> None:
    """One answer would be visible, but it might be the one of a worker that lost the row."""
    explored = explore(Protocol(fence="status", faults=Faults(stops=1)))
    assert explored.alarm == NOT_THE_HOLDER
    assert "the worker settling on row 0 stops" in explored.story, told(explored)


@pytest.mark.parametrize(
    "faults",
    [Faults(), Faults(lost_queues=1), Faults(deaths=1)],
    ids=["a lost webhook", "a lost queue", "a death"],
)
def test_without_the_sweeper_a_row_waits_forever(faults: Faults) -> None:
    explored = explore(Protocol(sweeper=False, faults=faults))
    assert explored.alarm is None
    assert explored.stuck > 0


def test_without_the_renewal_a_row_is_taken_from_a_worker_that_lives_and_may_never_be_answered() -> None:
    explored = explore(Protocol(renewal=False))
    assert explored.alarm == TAKEN_FROM_THE_LIVING
    assert not any("dies" in step or "stops" in step for step in explored.story), told(explored)


def test_a_row_is_poisoned_only_where_a_worker_died_or_stopped_or_was_not_heard() -> None:
    """With a limit of one loss, an attempt that was lost for no reason would end the row."""

    def is_poisoned(faults: Faults) -> bool:
        explored = explore(Protocol(max_losses=1, faults=faults))
        assert (explored.alarm, explored.stuck) == (None, 0), told(explored)
        return "row 0 is poisoned" in explored.steps

    assert not is_poisoned(Faults(errors=1, shutdowns=1, lost_queues=1, cancels=1))
    assert all(is_poisoned(faults) for faults in (Faults(deaths=1), Faults(stops=1), Faults(lost_replies=1)))
