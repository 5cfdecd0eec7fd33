"""HTML as Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag, UnicodeDammit
from markdownify import MarkdownConverter

_NO_TEXT = ("script", "style", "nav", "noscript", "template", "svg", "iframe", "button", "input", "select", "textarea")

# Python's parser looks for the end of each of these in the whole rest of the text, which is quadratic (CVE-2025-6069).
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_UNCLOSED_TAG = re.compile(r"<(?=[^<>]*(?:<|\Z))")

_BLOCK = re.compile(r"<(/?)(p|div|section|article|blockquote|ul|ol|li|dl|dt|dd|table|tr|td|th)\b[^>]*>", re.IGNORECASE)
_ENDS = {
    "p": ("p",),
    "li": ("li",),
    "dt": ("dt", "dd"),
    "dd": ("dt", "dd"),
    "td": ("td", "th"),
    "th": ("td", "th"),
    "tr": ("tr",),
}
_INSIDE = {
    "p": ("div", "section", "article", "blockquote", "li", "dd", "td", "th"),
    "li": ("ul", "ol"),
    "dt": ("dl",),
    "dd": ("dl",),
    "td": ("tr", "table"),
    "th": ("tr", "table"),
    "tr": ("table",),
}
_DEEPEST = 500  # nested deeper than that it cannot be converted anyway


@dataclass(frozen=True, slots=True)
class Page:
    title: str  # from the head; may be empty
    markdown: str


def read_html(content: str | bytes) -> Page:
    """The page's main text: its `main` element where it has one, without scripts, styles, navigation and forms.

    Raises UnicodeError for bytes of an unknown encoding, RecursionError for elements that are nested too deeply.
    """
    markup = content if isinstance(content, str) else UnicodeDammit(content, is_html=True).unicode_markup
    if markup is None:
        raise UnicodeError("its character encoding is unknown")
    closed = "".join(_with_implied_ends(_UNCLOSED_TAG.sub("&lt;", _COMMENT.sub("", markup))))
    soup = BeautifulSoup(closed, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup.find_all([*_NO_TEXT, "head"]):
        tag.decompose()
    for picture in soup.select('img[src^="data:"]'):
        picture.replace_with(str(picture.get("alt", "")))
    converter = MarkdownConverter(
        heading_style="atx",
        bullets="-",
        escape_asterisks=False,  # a backslash inside a name hides the name from the search for words
        escape_underscores=False,
        table_infer_header=True,  # without a header it would be no table in Markdown
        code_language_callback=_code_language,
    )
    try:
        markdown = str(converter.convert_soup(soup.select_one("main, [role=main]") or soup))
    except RecursionError as error:
        raise RecursionError("its elements are nested too deeply") from error
    return Page(title, re.sub(r"\n{3,}", "\n\n", markdown))


def _with_implied_ends(markup: str) -> Iterator[str]:
    """The markup with the end tags that HTML lets authors leave out.

    Python's parser would put each item into the one before.
    """
    opened: list[str] = []
    written = 0
    for tag in _BLOCK.finditer(markup):
        name = tag[2].lower()
        ended = (name,) if tag[1] else _ENDS.get(name, ())
        depth = _innermost(opened, ended, () if tag[1] else _INSIDE.get(name, ()))
        if depth is not None:
            if not tag[1]:
                yield f"{markup[written : tag.start()]}</{opened[depth]}>"
                written = tag.start()
            del opened[depth:]
        if not tag[1]:
            opened.append(name)
    yield markup[written:]


def _innermost(opened: list[str], names: tuple[str, ...], within: tuple[str, ...]) -> int | None:
    """Where the innermost of these elements is open, without leaving the element that it is in."""
    for depth in range(len(opened) - 1, max(-1, len(opened) - 1 - _DEEPEST), -1):
        if opened[depth] in names:
            return depth
        if opened[depth] in within:
            return None
    return None


def _code_language(pre: Tag) -> str:
    """`sql` for `class="language-sql"` on the block or on the code in it."""
    code = pre.find("code")
    classes = [*pre.get_attribute_list("class"), *(code.get_attribute_list("class") if code else ())]
    names = (str(name) for name in classes if name)
    return next((name.partition("-")[2] for name in names if name.startswith(("language-", "lang-"))), "")
