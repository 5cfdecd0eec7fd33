"""The public sets of `../shared/data`."""

import json
from pathlib import Path
from typing import Any

from staging import PROJECT

SHARED = PROJECT.parent / "shared" / "data"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Of a JSONL file; its texts may hold U+2028, which ends no line here."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
