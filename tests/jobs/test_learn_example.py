from jobs.learn_example import learn_example
from tests.jobs.attempts import attempted


async def test_an_example_that_is_gone_costs_no_call() -> None:
    done = await attempted(learn_example, {"example_id": "1"}, [])
    assert (done.finished.output, done.calls) == ({"learned": False}, [])
