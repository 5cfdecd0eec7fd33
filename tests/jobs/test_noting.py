"""The numbers of an answer's line: of each decision, and of nothing that was said."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.answer import answer
from jobs.decisions.compression import compress
from jobs.decisions.fusion import Candidate, fuse
from jobs.noting import noted
from jobs.ports import Completed, Context, Example, TextDelta, Usage
from tests.conftest import REPOSITORY
from tests.jobs.attempts import attempted
from tests.jobs.decisions.documents import count_words
from tests.jobs.decisions.test_fusion import QUESTION, candidates


@settings(max_examples=40)
@given(candidates, st.integers(0, 8), st.integers(0, 300), st.integers(0, 2))
def test_each_decision_narrows_what_the_one_before_it_found(
    found: list[Candidate], limit: int, budget: int, examples: int
) -> None:
    context = Context(tuple(found), (Example("q", "a", 1.0, ()),) * examples, other_model=False, call=None)
    ranked = fuse(found, question=QUESTION, limit=limit)
    passages = compress(ranked, QUESTION, budget_tokens=budget, count_tokens=count_words)
    numbers = noted(context, ranked, passages)
    assert len(found) == numbers["candidates"] >= numbers["ranked"] >= numbers["passages"] >= 0
    assert numbers["ranked"] <= limit
    assert numbers["passage_tokens"] <= budget
    assert numbers["context_tokens"] == sum(r.candidate.tokens for r in ranked)
    assert (numbers["examples"], numbers["cached_candidates"]) == (examples, 0)


async def test_an_answer_notes_them_and_the_page_of_events_explains_each() -> None:
    done = await attempted(answer, {"question": "?"}, [TextDelta("None."), Completed("stop", Usage(9, 3))])
    assert set(done.finished.noted.values()) == {0}
    page = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
    assert [name for name in done.finished.noted if f"`{name}`" not in page] == []
