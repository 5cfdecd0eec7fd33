"""docs/limits.md names every limit."""

import re

from tests.conftest import REPOSITORY
from tests.sql.session import Session

ROW = re.compile(r"^\| `(\w+)` \| (\d+) \|", re.MULTILINE)


def test_the_page_lists_each_limit_with_its_default(sql: Session) -> None:
    page = ROW.findall((REPOSITORY / "docs" / "limits.md").read_text(encoding="utf-8"))
    stored = sql.all("select name, value from rowcall.limits")
    assert sorted(page) == sorted((row["name"], str(int(row["value"]))) for row in stored)
