"""Before numpy is imported: its threads wait for each other by spinning, which on a shared machine takes minutes."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
