"""How many threads numpy's algebra takes."""

import os


def one_thread_of_algebra() -> None:
    """Before numpy is imported: its BLAS takes a thread a core, and each waits spinning for the slowest.

    The matrices are small. Of two cores that had other work, calibrating by 1,000 questions took 20 s by one thread and
    122 s by two, and ranking 60 passages 7 ms of processor time by one and 11 by two.
    """
    for name in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")
