"""One thread is chosen in time: once numpy is there it no longer matters what the environment says."""

import os
import subprocess
import sys


def test_the_command_line_is_read_without_numpy_and_a_thread_count_of_one_s_own_stays() -> None:
    script = """
import os, sys
import worker.cli
from worker.cli.algebra import one_thread_of_algebra
assert "numpy" not in sys.modules
one_thread_of_algebra()
print(os.environ["OPENBLAS_NUM_THREADS"], os.environ["VECLIB_MAXIMUM_THREADS"])
"""
    without = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**without, "VECLIB_MAXIMUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "1 3\n"
