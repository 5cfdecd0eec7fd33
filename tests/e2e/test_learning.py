"""A rated answer becomes an example: real clients, the operator's functions, a worker that embeds it."""

from uuid import uuid4

from tests.e2e.conftest import SWALLOWS, Model
from tests.e2e.test_main_path import QUESTION, sql
from tests.waiting import async_until
from worker.client import Rowcall
from worker.exampling import promote
from worker.local.stack import Stack
from worker.operating import Operator

SIMILAR = "What is the airspeed velocity of a laden swallow?"


async def answered(rowcall: Rowcall, question: str) -> str:
    id = await rowcall.submit({"question": question})
    assert (await rowcall.wait(id)).status == "succeeded"
    return id


async def test_a_well_rated_answer_is_shown_beside_its_owner_s_next_question_and_no_other_user_s(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    rated = await answered(rowcall, QUESTION)
    await rowcall.rate(rated, good=True)
    operator = Operator(rowcall_stack.url, rowcall_stack.secret_key, "the test")
    assert await promote(operator, 1, "all-MiniLM-L6-v2", as_json=True)
    look = "select learned_by, embedding_model from rowcall.examples where generation_id = %s"

    async def is_learned() -> bool:
        return bool(sql(rowcall_stack, look, rated)[0][1] == "all-MiniLM-L6-v2")

    await async_until(is_learned, "the example has a vector")
    [(learned_by, _)] = sql(rowcall_stack, look, rated)
    ledger = "select purpose, status, tokens_in > 0 from rowcall.calls where generation_id = %s"
    await rowcall.wait(str(learned_by))
    assert sql(rowcall_stack, ledger, learned_by) == [("embed", "succeeded", True)]

    async def prompt_tokens(asker: Rowcall) -> int:
        before = len(await model.answers())
        await answered(asker, SIMILAR)
        [asked] = (await model.answers())[before:]
        return int(asked["prompt_tokens"])

    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse"}
    async with Rowcall.signed_in(rowcall_stack.url, rowcall_stack.publishable_key, sign_up=True, **account) as stranger:
        [document] = await stranger.put_documents([{"source": "swallows.md", "content": SWALLOWS}])
        await stranger.wait_all([document["generation_id"]], poll_s=0.1)
        assert await prompt_tokens(rowcall) > await prompt_tokens(stranger)  # who asks of the same page
    await rowcall.rate(rated, good=False)
    assert sql(rowcall_stack, look, rated) == []
