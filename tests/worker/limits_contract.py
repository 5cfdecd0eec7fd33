"""What every `worker.ports.Limits` does. A subclass named Test… gives the fixture its limits, and moves its clock."""

from collections.abc import Awaitable, Callable

import pytest

from jobs.ports import ModelName
from worker.ports import Limits, PerMinute

LIMITED = ModelName("p", "limited")
FREE = ModelName("p", "free")
LIMITS = {LIMITED: PerMinute(requests=600, tokens=60_000)}  # ten requests and 1,000 tokens a second

Pass = Callable[[float], Awaitable[None]]


async def granted(limits: Limits, tokens: int = 0, model: ModelName = LIMITED) -> int:
    """How many calls may begin at once."""
    count = 0
    while count < 1_000 and await limits.reserve(model, tokens, patience_s=0.0) == 0:
        count += 1
    return count


class LimitsContract:
    @pytest.fixture
    async def limits(self) -> Limits:
        """Limits of `LIMITS`, none of which is used."""
        raise NotImplementedError

    @pytest.fixture
    def pass_s(self) -> Pass:
        """Lets time go by."""
        raise NotImplementedError

    async def test_a_model_without_limits_never_waits(self, limits: Limits) -> None:
        assert limits.of(FREE) == PerMinute()
        assert await granted(limits, 10**9, FREE) == 1_000

    async def test_requests_are_granted_up_to_the_burst_and_then_at_the_rate(
        self, limits: Limits, pass_s: Pass
    ) -> None:
        assert 49 <= await granted(limits) <= 53  # five seconds' worth
        await pass_s(1.0)
        assert 8 <= await granted(limits) <= 13

    async def test_tokens_are_granted_in_the_same_way(self, limits: Limits) -> None:
        assert 5 <= await granted(limits, 1_000) <= 6

    async def test_a_call_that_is_larger_than_the_burst_goes_alone(self, limits: Limits) -> None:
        assert await limits.reserve(LIMITED, 30_000, patience_s=0.0) == 0
        assert await limits.reserve(LIMITED, 1, patience_s=0.0) < -20.0

    async def test_who_is_patient_gets_a_turn_of_his_own_later(self, limits: Limits) -> None:
        await granted(limits)
        waits = [await limits.reserve(LIMITED, 0, patience_s=10.0) for _ in range(10)]
        assert all(0 < wait <= 10 for wait in waits)
        assert waits[-1] - waits[0] > 0.7  # ten a second

    async def test_what_was_not_used_goes_to_others(self, limits: Limits) -> None:
        await limits.reserve(LIMITED, 5_000, patience_s=0.0)
        await limits.reserve(LIMITED, 1_000, patience_s=0.0)
        assert await limits.reserve(LIMITED, 1_000, patience_s=0.0) < 0
        await limits.settle(LIMITED, reserved=5_000, used=1_000)
        assert 4 <= await granted(limits, 1_000) <= 5

    async def test_what_was_used_beyond_the_reservation_counts(self, limits: Limits) -> None:
        await limits.reserve(LIMITED, 100, patience_s=0.0)
        await limits.settle(LIMITED, reserved=100, used=9_000)
        assert await limits.reserve(LIMITED, 100, patience_s=0.0) < -3.0

    async def test_a_refusal_of_the_provider_stops_every_caller_for_so_long(self, limits: Limits, pass_s: Pass) -> None:
        for model in (LIMITED, FREE):
            await limits.refused(model, 2.0)
            assert -2.0 <= await limits.reserve(model, 1, patience_s=0.0) < -1.0
        await pass_s(2.1)
        assert await limits.reserve(FREE, 1, patience_s=0.0) == 0

    async def test_who_has_waited_is_told_of_a_refusal_meanwhile(self, limits: Limits, pass_s: Pass) -> None:
        assert await limits.held_back_s(FREE) == 0
        await limits.refused(FREE, 2.0)
        assert 1.0 < await limits.held_back_s(FREE) <= 2.0
        assert await limits.held_back_s(LIMITED) == 0
        await pass_s(2.1)
        assert await limits.held_back_s(FREE) == 0

    async def test_after_a_refusal_fewer_calls_are_made_for_a_while(self, limits: Limits, pass_s: Pass) -> None:
        await granted(limits)
        await limits.refused(LIMITED, 0.0)
        await pass_s(2.0)
        before = await granted(limits)
        await limits.refused(LIMITED, 0.0)
        await pass_s(2.0)
        assert await granted(limits) < before
