import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decisions.hypertext import read_html

PAGE = """\
<!doctype html><html><head><title>Guide &amp; more</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav>
<main><h2>The <code>queue_name</code></h2><p>Some <b>bold</b> text.<!-- hidden --></p>
<ul><li>one<ul><li>nested</li></ul></li><li>two</li></ul>
<pre><code class="language-sql">select 1;
select 2;</code></pre>
<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="a picture"><script>alert(1)</script></main>
<footer>Imprint</footer></body></html>"""


def test_a_page_keeps_what_is_its_own() -> None:
    page = read_html(PAGE)
    assert page.title == "Guide & more"
    assert page.markdown.strip() == (
        "## The `queue_name`\n\nSome **bold** text.\n\n- one\n  - nested\n- two\n\n"
        "```sql\nselect 1;\nselect 2;\n```\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n\na picture"
    )


TAGS = ("<p>", "</p>", "<li>", "<ul>", "</ul>", "<td>", "<tr>", "<table>")


@given(st.lists(st.sampled_from((*TAGS, "x", ">"))))
def test_text_between_tags_is_kept_however_they_are_nested(parts: list[str]) -> None:
    assert read_html("".join(parts)).markdown.count("x") == parts.count("x")


@given(st.lists(st.sampled_from((*TAGS, "x", ">", "<a ", "<"))))
def test_any_markup_can_be_read(parts: list[str]) -> None:
    """Of what stands inside a tag, as in `<a x>`, nothing is shown."""
    assert read_html("".join(parts)).markdown.count("x") <= parts.count("x")


@pytest.mark.parametrize(
    ("markup", "markdown"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("<ul><li>a<ul><li>b<li>c</ul><li>d</ul>", "- a\n  - b\n  - c\n- d"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("<p>intro<ul><li><p>a<li><p>b</ul>", "intro\n\n- a\n- b"),
    ],
)
def test_end_tags_may_be_left_out(markup: str, markdown: str) -> None:
    assert read_html(markup).markdown.strip() == markdown


def test_many_items_without_end_tags_are_not_nested() -> None:
    assert read_html("<ul>" + "<li>item" * 2000 + "</ul>").markdown.count("- item") == 2000


def test_bytes_are_read_in_the_encoding_that_they_declare() -> None:
    assert (
        read_html(b'<meta charset="iso-8859-1"><p>caf\xe9</p>').markdown.strip()
        == "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    )
