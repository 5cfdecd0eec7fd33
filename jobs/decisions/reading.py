"""Documents of several media types as Markdown, the one form in which they are chunked, cited and shown."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from urllib.parse import unquote, urlsplit

from pypdf import PdfReader

from jobs.decisions.hypertext import read_html
from jobs.decisions.outline import read_sections
from jobs.errors import Permanent

MAX_TITLE = 200

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>(?:[^\n]*\n){0,200}?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_FIELD = re.compile(r"^(?P<name>[A-Za-z_][\w-]*):[ \t]*(?P<value>[^\n]*)(?P<folded>(?:\n[ \t]+[^\n]*)*)", re.MULTILINE)
_FRONT_MATTER_LINE = re.compile(r"[A-Za-z_][\w. -]*:(?:\s|$)|[ \t#-]|$")
_PAGE = re.compile(r"Page \d+")

_PDF_MARKS = re.compile(r"^([ \t]*)(#{1,6}[ \t]|=+[ \t]*$|-+[ \t]*$|`{3}|~{3})", re.MULTILINE)
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def to_markdown(content: str | bytes, media_type: str) -> str:
    """The document's text, with line feeds as its only line endings. A PDF given as str is base64.

    Every page of a PDF is a section `## Page n`, so that its chunks' heading paths name it. The title in a front matter
    or in an HTML head becomes the first heading where the text has none. Raises Permanent `document.unreadable`.
    """
    kind = media_type.partition(";")[0].strip().lower()
    readers: Mapping[str, Callable[[str | bytes], str]] = {
        "text/markdown": lambda raw: _without_front_matter(_text(raw, kind)),
        "text/plain": lambda raw: _text(raw, kind),
        "text/html": _html,
        "application/pdf": _pdf,
    }
    if kind not in readers:
        raise _unreadable(media_type or "no media type", f"not one of {', '.join(sorted(readers))}")
    return _clean(readers[kind](content))


def find_title(markdown: str, source: str | None) -> str | None:
    """The first heading; else what the source's last part says (`docs/getting-started.md`: "Getting started")."""
    headings = (section.heading_path[0] for section in read_sections(markdown) if section.heading_path)
    title = next((heading for heading in headings if not _PAGE.fullmatch(heading)), None) or _title_of_source(source)
    return title[:MAX_TITLE] if title else None


def _title_of_source(source: str | None) -> str | None:
    parts = [
        part for part in unquote(urlsplit(source).path if "://" in (source or "") else source or "").split("/") if part
    ]
    names = [re.sub(r"\.[A-Za-z0-9]{1,8}$", "", part) for part in parts]
    if len(names) > 1 and names[-1].lower() in ("index", "readme"):
        names.pop()
    words = re.sub(r"[-_\s]+", " ", names[-1]).strip() if names else ""
    return words[:1].upper() + words[1:] or None


def _text(content: str | bytes, media_type: str) -> str:
    if isinstance(content, str):
        return content
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _unreadable(media_type, f"not {encoding.removesuffix('-sig')} text (byte {error.start})") from error


def _clean(markdown: str) -> str:
    """NUL and halves of surrogate pairs cannot be stored; neither they nor a byte order mark say anything."""
    unified = markdown.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", unified)


def _without_front_matter(markdown: str) -> str:
    """The text below its front matter, whose title and description are kept; the other fields are for machines."""
    unified = _clean(markdown)
    found = _FRONT_MATTER.match(unified)
    if not found or not all(_FRONT_MATTER_LINE.match(line) for line in found["fields"].splitlines()):
        return unified
    fields = {
        field["name"].lower(): _scalar(field["value"], field["folded"]) for field in _FIELD.finditer(found["fields"])
    }
    return _titled(unified[found.end() :], fields.get("title", ""), fields.get("description", ""))


def _scalar(value: str, folded: str) -> str:
    """A plain, quoted or folded YAML value on one line."""
    block = re.fullmatch(r"[>|][+-]?", value.strip())
    words = " ".join(folded.split()) if block else " ".join(f"{value} {folded}".split())
    quoted = re.fullmatch(r"""(["'])(.*)\1""", words)
    return quoted[2] if quoted else words


def _titled(body: str, title: str, description: str = "") -> str:
    """The text under its own first heading, else under the title; then the description, then the rest."""
    first = read_sections(body)[0]
    heading_end = first.body_start if first.heading_path else 0
    heading = body[:heading_end].strip("\n") or (f"# {title}" if title else "")
    return "\n\n".join(part for part in (heading, description, body[heading_end:].lstrip("\n")) if part)


def _html(content: str | bytes) -> str:
    try:
        page = read_html(content)
    except (UnicodeError, RecursionError) as error:
        raise _unreadable("text/html", str(error)) from error
    return _titled(page.markdown, page.title)


def _pdf(content: str | bytes) -> str:
    try:
        raw = base64.b64decode(content, validate=True) if isinstance(content, str) else content
        title, pages = _pdf_text(raw)
    except Permanent:
        raise
    except binascii.Error as error:
        raise _unreadable("application/pdf", "its content is not base64") from error
    except Exception as error:  # pypdf raises whatever a damaged file leads it to, KeyError and RecursionError included
        raise _unreadable("application/pdf", f"it is damaged ({type(error).__name__})") from error
    if not any(page.strip() for page in pages):
        raise _unreadable("application/pdf", "it holds no text; scanned pages need character recognition first")
    return "\n\n".join(_pdf_sections(title, pages))


def _pdf_text(raw: bytes) -> tuple[str, list[str]]:
    """The title, or nothing, and the text of every page."""
    reader = PdfReader(BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        raise _unreadable("application/pdf", "it is protected by a password")
    title = (reader.metadata.title if reader.metadata else None) or ""
    return " ".join(title.split()), [page.extract_text() for page in reader.pages]


def _pdf_sections(title: str, pages: Sequence[str]) -> Iterator[str]:
    if title:
        yield f"# {title}"
    for number, page in enumerate(pages, 1):
        text = _PDF_MARKS.sub(r"\1\\\2", _HYPHENATED.sub("", _clean(page).strip()))
        if text:
            yield f"## Page {number}\n\n{text}"


def _unreadable(media_type: str, problem: str) -> Permanent:
    return Permanent("document.unreadable", f"{media_type}: {problem}")
