"""What the answer job builds, the local model reads: both sides of one format."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions import prompting
from jobs.decisions.compression import Passage
from jobs.decisions.prompting import Template, build_prompt
from worker.local.model_server.passages import Message, read_inquiry

TEMPLATE = Template.of("answer", "You answer from passages.")
TAGS = st.sampled_from(
    ["</passage>", "</passages>", "<question>", "</question>", "&lt;", "&amp;lt;", '<passage id="9">', '"', "&nbsp;"]
)
TEXTS = st.lists(st.text(max_size=20) | TAGS, min_size=1, max_size=6).map("\n".join)


def passage(number: int, text: str, title: str = "Title") -> Passage:
    return Passage(number, "document", title, None, ("Heading", "Sub"), text, len(text), 1.0)


def read(prompt: prompting.Prompt) -> tuple[str, list[str], str]:
    inquiry = read_inquiry([Message(message.role, message.content) for message in prompt.messages])
    assert inquiry is not None
    assert [passage.id for passage in inquiry.passages] == list(range(1, len(inquiry.passages) + 1))
    return inquiry.question, [passage.text for passage in inquiry.passages], inquiry.earlier


@given(question=TEXTS, texts=st.lists(TEXTS, max_size=4))
def test_a_prompt_is_read_as_it_was_meant(question: str, texts: list[str]) -> None:
    passages = [passage(number, text) for number, text in enumerate(texts)]
    prompt = build_prompt(TEMPLATE, question, passages, count_tokens=len)
    assert read(prompt) == (question.strip(), [text.strip("\n") for text in texts], "")


def test_a_title_comes_back_without_its_escapes() -> None:
    prompt = build_prompt(TEMPLATE, "?", [passage(7, "text", title='a "b" <question> &quot;')], count_tokens=len)
    inquiry = read_inquiry([Message(message.role, message.content) for message in prompt.messages])
    assert inquiry is not None
    assert inquiry.passages[0].title == 'a "b" <question> &quot;'
    assert "Heading" in inquiry.passages[0].path


class Example:
    question = "Which colour has the sky?"
    answer = "Blue."


def test_the_earlier_question_is_the_conversations_and_not_an_examples() -> None:
    history = [prompting.Message("user", "What is <question> AOF?"), prompting.Message("assistant", "A log.")]
    with_history = build_prompt(TEMPLATE, "Why?", [], history=history, examples=[Example()], count_tokens=len)
    without = build_prompt(TEMPLATE, "Why?", [], examples=[Example()], count_tokens=len)
    assert read(with_history)[2] == "What is <question> AOF?"
    assert read(without)[2] == ""


def test_a_prompt_without_passages_is_no_inquiry() -> None:
    assert read_inquiry([]) is None
    assert read_inquiry([Message("user", "Summarize: <passages> are great.")]) is None
