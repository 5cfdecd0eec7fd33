"""Runs `python -m <module> <arguments>` when told to: `python -m worker.local.child <module> <arguments>`.

Importing is most of a Python part's start. So it is started beside Postgres, imports at once, and begins when the
supervisor writes a line. The end of that pipe is the end of the supervisor.
"""

import importlib
import os
import signal
import sys
import threading


def end_with_the_supervisor() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread that sleeps inside its lock breaks the interpreter's exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    module = importlib.import_module(sys.argv[1])
    if not os.read(0, 1):
        return
    threading.Thread(target=end_with_the_supervisor, daemon=True).start()
    sys.argv = sys.argv[1:]
    module.main()


if __name__ == "__main__":
    main()
