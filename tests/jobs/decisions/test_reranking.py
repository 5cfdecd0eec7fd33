from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.fusion import Candidate, Ranked
from jobs.decisions.reranking import reorder

finite = st.floats(-1e6, 1e6)


def passage(number: int, content: str = "", *, score: float = 0.5) -> Ranked:
    text = content or f"what passage {number} says, and nothing else says"
    candidate = Candidate(number, f"d{number}", 0, "t", None, (), text, 9, 0.5, None, 1, None)
    return Ranked(candidate, score, text)


def ids(passages: tuple[Ranked, ...]) -> list[int]:
    return [p.candidate.chunk_id for p in passages]


@given(st.lists(finite, max_size=12), st.integers(0, 12))
def test_the_best_by_the_new_scores_come_first(scores: list[float], limit: int) -> None:
    passages = [passage(number) for number in range(len(scores))]
    chosen = reorder(passages, scores, limit=limit)
    assert len(chosen) == min(limit, len(scores))
    kept, left = ids(chosen), set(range(len(scores))) - set(ids(chosen))
    assert [scores[n] for n in kept] == sorted((scores[n] for n in kept), reverse=True)
    assert all(scores[n] <= scores[kept[-1]] for n in left) if kept else True
    assert all(0 <= p.score <= 1 for p in chosen)


@given(st.integers(1, 8), finite)
def test_equal_scores_change_nothing(count: int, score: float) -> None:
    passages = tuple(passage(n, score=n / 10) for n in range(count))
    assert reorder(passages, [score] * count, limit=count) == passages


def test_a_passage_has_its_whole_text_again_where_the_one_that_said_it_before_falls_out() -> None:
    shared = "the sentence at the end of one and the start of the next"
    first = passage(1, f"A first chunk, and {shared}")
    second = Ranked(passage(2, f"{shared}, then the rest").candidate, 0.4, ", then the rest")
    assert reorder([first, second], [0.1, 0.9], limit=1)[0].content == f"{shared}, then the rest"
