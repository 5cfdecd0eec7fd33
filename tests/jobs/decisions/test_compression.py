import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decisions.compression import compress
from jobs.decisions.fusion import Candidate, Ranked
from jobs.decisions.minifying import LEFT_OUT
from tests.jobs.decisions.documents import count_words, documents, paragraphs

QUESTION = "How long is a lease?"


def ranked(chunk_id: int, content: str, score: float = 0.5, title: str = "Title") -> Ranked:
    found = Candidate(
        chunk_id, f"d{chunk_id}", 0, title, "a.md", ("Heading",), content, count_words(content), score, None, None, None
    )
    return Ranked(found, score, content)


passages = st.lists((documents | paragraphs).filter(str.strip), max_size=6).map(
    lambda contents: [ranked(id, content, 1 / (id + 1)) for id, content in enumerate(contents)]
)


@settings(max_examples=40)
@given(passages, st.text(max_size=30), st.integers(0, 300))
def test_the_texts_stay_within_the_budget_and_in_their_order(found: list[Ranked], question: str, budget: int) -> None:
    kept = compress(found, question, budget_tokens=budget, count_tokens=count_words)
    assert sum(p.tokens for p in kept) <= budget
    assert all(p.tokens == count_words(p.text) for p in kept)
    ids = [r.candidate.chunk_id for r in found]
    assert [p.chunk_id for p in kept] == [id for id in ids if id in {p.chunk_id for p in kept}]


@settings(max_examples=40)
@given(passages, st.integers(0, 60))
def test_passages_that_fit_are_left_as_they_are(found: list[Ranked], spare: int) -> None:
    total = sum(count_words(r.content) for r in found)
    kept = compress(found, QUESTION, budget_tokens=total + spare, count_tokens=count_words)
    assert [p.text for p in kept] == [r.content for r in found]


@settings(max_examples=40)
@given(passages, st.integers(1, 100))
def test_every_line_that_is_kept_is_the_documents_own(found: list[Ranked], budget: int) -> None:
    kept = compress(found, QUESTION, budget_tokens=budget, count_tokens=count_words)
    own = {r.candidate.chunk_id: r.content for r in found}
    for p in kept:
        assert p.text
        assert all(dense(line) in dense(own[p.chunk_id]) or line == f"|{LEFT_OUT}|" for line in p.text.splitlines())


def dense(text: str) -> str:
    """Without what a table is padded with."""
    return re.sub("-+", "-", "".join(text.split()))


def with_units(found: Ranked, *similarities: float) -> Ranked:
    return replace(found, candidate=replace(found.candidate, unit_similarities=similarities))


def test_a_sentence_that_is_near_to_the_question_is_kept_though_it_shares_no_word() -> None:
    content = "Rows are claimed. It ends when fifteen seconds have passed. Leases are a topic of their own."
    found = [with_units(ranked(1, content), 0.1, 0.9, 0.2)]
    [kept] = compress(found, QUESTION, budget_tokens=8, count_tokens=count_words)
    assert kept.text == "It ends when fifteen seconds have passed."


def test_of_a_chunk_without_what_a_neighbour_says_already_each_sentence_keeps_its_nearness() -> None:
    content = "Rows are claimed. It ends when fifteen seconds have passed. Leases are a topic of their own."
    left = "ends when fifteen seconds have passed. Leases are a topic of their own."
    found = [replace(with_units(ranked(1, content), 0.1, 0.9, 0.2), content=left)]
    [kept] = compress(found, QUESTION, budget_tokens=8, count_tokens=count_words)
    assert kept.text == "ends when fifteen seconds have passed."


def test_vectors_of_units_that_were_others_at_ingest_count_for_nothing() -> None:
    content = "Rows are claimed. It ends when fifteen seconds have passed. Leases are a topic of their own."
    found = ranked(1, content)
    assert compress([with_units(found, 0.1, 0.9)], QUESTION, budget_tokens=8, count_tokens=count_words) == compress(
        [found], QUESTION, budget_tokens=8, count_tokens=count_words
    )


def test_the_sentences_that_answer_are_kept_whole() -> None:
    text = (
        "Rows wait in a queue. Workers claim them. A lease is 15 seconds long. Then another worker may claim the row."
    )
    (passage,) = compress([ranked(1, text)], QUESTION, budget_tokens=13, count_tokens=count_words)
    assert passage.text == "Rows wait in a queue.\nA lease is 15 seconds long."


def test_code_and_list_items_are_kept_whole_or_not_at_all() -> None:
    code = "```toml\n# the lease\nlease_s = 15\n```"
    text = f"Set it:\n\n{code}\n\n- a lease is short\n- a page is long\n\nOther words follow here."
    (passage,) = compress([ranked(1, text)], "lease_s", budget_tokens=18, count_tokens=count_words)
    assert code in passage.text
    assert "Other words" not in passage.text


def test_a_passage_about_what_the_best_sentence_names_is_kept() -> None:
    found = [
        ranked(1, "The lease was invented by Ada Moss. It rained on that day in the old town.", 0.9, "Lease"),
        ranked(2, "Nothing of interest is said in this text here. Nor in this one.", 0.5, "Other"),
        ranked(3, "She was born in Riga in 1901. She liked to sail in summer.", 0.5, "Ada Moss"),
    ]
    kept = compress(found, "Where was the inventor of the lease born?", budget_tokens=16, count_tokens=count_words)
    assert [p.text for p in kept] == ["The lease was invented by Ada Moss.", "She was born in Riga in 1901."]


def test_of_a_meeting_turns_that_follow_each_other_are_kept_whole() -> None:
    turns = [f"{'Bob' if n % 2 else 'Ann'}: This is turn {n} of a meeting." for n in range(40)]
    chunks = ["\n\n".join(turns[start : start + 4]) for start in range(0, 40, 4)]
    scores = (0.1, 0.9, 0.0, 0.2, 0.1, 0.8, 0.3, 0.9, 0.2, 0.1)
    found = [
        Ranked(replace(ranked(n, chunk).candidate, document_id="meeting", ordinal=n), score, chunk)
        for n, (chunk, score) in enumerate(zip(chunks, scores, strict=True))
    ]
    fits = sum(map(count_words, chunks[5:8]))
    kept = compress(found, "lease", budget_tokens=fits, count_tokens=count_words)
    assert [(p.chunk_id, p.text) for p in kept] == [(n, chunks[n]) for n in (5, 6, 7)]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 120))
def test_numbers_negations_and_code_are_kept_or_left_out_with_all_of_their_unit(picks: list[int], budget: int) -> None:
    forms = (
        "Row {n} is not 3.5 s old, e.g. in `wait_s. Then` or so.",
        "Nobody waits {n} s.",
        "It took 1,00{n}.75 USD, cf. Dr. Moss!",
        "\n\n```sql\nselect {n};\n\n-- not 2. Or 3.\n```\n\n",
        "\n\n- item {n} never ends. Not even at 2.10.3.\n\n",
        "\n\n|a|b|\n|-|-|\n|no. {n}|not 1.5. Ever|\n\n",
    )
    units = [forms[pick].format(n=place) for place, pick in enumerate(picks)]
    kept = compress([ranked(1, " ".join(units))], "wait", budget_tokens=budget, count_tokens=count_words)
    left = "".join(dense(passage.text) for passage in kept)
    for unit in sorted(map(dense, units), key=len, reverse=True):
        left = left.replace(unit, "", 1)
    assert not left


def test_of_a_table_that_does_not_fit_the_rows_that_match_are_kept_below_its_header() -> None:
    rows = "\n".join(f"| {code} | what {code} means |" for code in range(400, 430))
    text = f"Errors are listed.\n\n| code | meaning |\n|------|---------|\n{rows}\n\nThat is all."
    (passage,) = compress([ranked(1, text)], "What is 413?", budget_tokens=28, count_tokens=count_words)
    assert passage.text == (
        f"Errors are listed.\n\n|code|meaning|\n|-|-|\n|{LEFT_OUT}|\n|413|what 413 means|\n|{LEFT_OUT}|"
    )


def test_json_is_minified_before_it_is_left_out() -> None:
    text = 'It is so:\n\n```json\n{\n  "lease_s": 15.0,\n  "page": [1, 2]\n}\n```\n\nOther words are here.'
    (passage,) = compress([ranked(1, text)], "lease_s", budget_tokens=34, count_tokens=count_words)
    assert '```json\n{"lease_s":15.0,"page":[1,2]}\n```' in passage.text
