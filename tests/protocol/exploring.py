"""Every state that a protocol can reach, breadth first."""

from collections import deque
from dataclasses import dataclass

from tests.protocol.model import ALARMS, Alarm, Protocol, State


@dataclass(frozen=True, slots=True)
class Explored:
    """What was found. A story is a shortest path, as the names of its steps."""

    states: int
    alarm: Alarm | None  # the one with the shortest story
    story: tuple[str, ...]  # of the alarm, or of a state from which not all rows can end
    steps: frozenset[str]  # all that were taken
    stuck: int  # states from which no path without a further fault leads to the end of all rows


def explore(protocol: Protocol, alarms: frozenset[Alarm] = ALARMS) -> Explored:
    """Stops at the first of these alarms. Otherwise asks of each state whether everything can still end from there."""
    first = protocol.beginning()
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    led_to_by_itself: dict[State, list[State]] = {}  # backwards: the states before, without a fault between
    waiting, taken = deque([first]), set[str]()
    while waiting:
        state = waiting.popleft()
        for step in protocol.steps(state):
            taken.add(step.name)
            if step.after not in came_from:
                came_from[step.after] = (state, step.name)
                if step.after.alarm in alarms:
                    story = _story(came_from, step.after)
                    return Explored(len(came_from), step.after.alarm, story, frozenset(taken), 0)
                waiting.append(step.after)
            if not step.is_fault:
                led_to_by_itself.setdefault(step.after, []).append(state)
    can_end = _before([state for state in came_from if state.has_ended], led_to_by_itself)
    stuck = [state for state in came_from if state not in can_end]
    story = _story(came_from, stuck[0]) if stuck else ()
    return Explored(len(came_from), None, story, frozenset(taken), len(stuck))


def _before(ends: list[State], led_to: dict[State, list[State]]) -> set[State]:
    found, waiting = set(ends), deque(ends)
    while waiting:
        for state in led_to.get(waiting.popleft(), ()):
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def _story(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came_from[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
