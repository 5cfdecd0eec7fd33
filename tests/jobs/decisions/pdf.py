"""The smallest PDF files that hold text."""

from collections.abc import Iterator


def make_pdf(pages: list[str], title: str = "") -> bytes:
    """One line of Helvetica for every line of a page's text. Latin letters only."""
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(_objects(pages, title), 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(places) + 1,
        len(body),
    )
    return body + head + table + trailer


def _objects(pages: list[str], title: str) -> Iterator[bytes]:
    kids = b" ".join(b"%d 0 R" % (5 + 2 * index) for index in range(len(pages)))
    yield b"<< /Type /Catalog /Pages 2 0 R >>"
    yield b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    yield b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    yield b"<< /Title (%s) >>" % title.encode() if title else b"<< >>"
    for index, page in enumerate(pages):
        lines = b" ".join(b"(%s) Tj T*" % line.encode() for line in page.splitlines())
        text = b"BT /F1 12 Tf 14 TL 72 720 Td %s ET" % lines
        resources = b"<< /Font << /F1 3 0 R >> >>"
        media_box = b"[0 0 612 792]"
        yield b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Resources %s /Contents %d 0 R >>" % (
            media_box,
            resources,
            6 + 2 * index,
        )
        yield b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text)
