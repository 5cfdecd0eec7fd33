"""Pictures are drawn from their sources."""

import runpy

from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "docs" / "pictures" / "life_of_a_row.py"


def test_the_picture_is_up_to_date() -> None:
    source = runpy.run_path(str(SOURCE))
    assert source["PICTURE"].read_text(encoding="utf-8") == source["drawn"](), "run `make docs`"
