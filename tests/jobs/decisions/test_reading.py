import base64
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from jobs.decisions.reading import find_title, to_markdown
from jobs.errors import Permanent
from tests.jobs.decisions.documents import anything
from tests.jobs.decisions.pdf import make_pdf

MEDIA_TYPES = ("text/markdown", "text/plain", "text/html")


@given(st.text(max_size=200) | anything, st.sampled_from(MEDIA_TYPES))
def test_any_text_is_readable_and_its_lines_end_one_way(content: str, media_type: str) -> None:
    markdown = to_markdown(content, media_type)
    assert not set(markdown) & set("\r\0")
    assert "\ufeff" not in markdown[:1]


@settings(max_examples=50)
@given(anything)
def test_markdown_without_front_matter_and_plain_text_stay_as_they_are(content: str) -> None:
    unified = content.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").removeprefix("\ufeff")
    assert to_markdown(content, "text/plain") == unified
    assert unified.startswith("---") or to_markdown(content, "text/markdown") == unified


def problem_of(content: bytes, media_type: str) -> Permanent | None:
    try:
        to_markdown(content, media_type)
    except Permanent as error:
        return error
    return None


@given(st.binary(max_size=100), st.sampled_from((*MEDIA_TYPES, "application/pdf")))
def test_bytes_are_read_or_refused_with_a_code(content: bytes, media_type: str) -> None:
    problem = problem_of(content, media_type)
    assert problem is None or problem.code == "document.unreadable"
    assert problem is None or problem.message.startswith(media_type)


def test_front_matter_gives_its_title_and_description() -> None:
    page = '---\ntitle: "Redis lists"\nweight: 1\ndescription: >\n  Introduction to\n  lists\n---\n\nText.\n'
    assert to_markdown(page, "text/markdown") == "# Redis lists\n\nIntroduction to lists\n\nText.\n"


def test_a_heading_of_its_own_counts_more_than_the_front_matters_title() -> None:
    assert to_markdown("---\ntitle: X\ndescription: Y\n---\n# Own\n\nText.", "text/markdown") == "# Own\n\nY\n\nText."


def test_a_rule_at_the_top_is_no_front_matter() -> None:
    page = "---\n\nA sentence, not a field.\n\n---\n\nText."
    assert to_markdown(page, "text/markdown") == page


def test_every_page_of_a_pdf_can_be_cited() -> None:
    content = base64.b64encode(make_pdf(["First line\nconti-\nnued", "# 2 is a number"], "Manual")).decode()
    assert to_markdown(content, "application/pdf") == (
        "# Manual\n\n## Page 1\n\nFirst line\ncontinued\n\n## Page 2\n\n\\# 2 is a number"
    )


def encrypted() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf(["secret"]))))
    writer.encrypt("password", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type", "problem"),
    [
        (b"x", "image/png", "image/png: not one of application/pdf, text/html"),
        (b"\xff\x80", "text/plain", "not utf-8 text"),
        ("no base64!", "application/pdf", "not base64"),
        (b"%PDF-1.4 cut", "application/pdf", "damaged"),
        (make_pdf([""]), "application/pdf", "holds no text"),
        (encrypted(), "application/pdf", "password"),
        ("<div>" * 2000 + "x", "text/html", "nested too deeply"),
    ],
)
def test_an_unreadable_document_says_why(content: str | bytes, media_type: str, problem: str) -> None:
    with pytest.raises(Permanent, match=problem) as raised:
        to_markdown(content, media_type)
    assert raised.value.code == "document.unreadable"


def test_a_media_type_may_carry_parameters() -> None:
    assert to_markdown("Text.", "Text/Plain; charset=utf-8") == "Text."


@pytest.mark.parametrize(
    ("markdown", "source", "title"),
    [
        ("Intro.\n\n## The `arq` worker\n", "docs/a.md", "The arq worker"),
        ("## Page 1\n\nText.", "files/user_manual.pdf", "User manual"),
        ("Text.", "docs/getting-started.md", "Getting started"),
        ("Text.", "https://example.org/guides/row%20level-security/", "Row level security"),
        ("Text.", "docs/redis/README.md", "Redis"),
        ("```\n# no heading\n```", None, None),
        ("Text.", "https://example.org", None),
    ],
)
def test_a_title_is_the_first_heading_or_what_the_source_says(
    markdown: str, source: str | None, title: str | None
) -> None:
    assert find_title(markdown, source) == title
