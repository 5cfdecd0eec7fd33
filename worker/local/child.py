"""Runs a module's `main()` when told to: `python -m worker.local.child <module>[,<module>…] <arguments>`.

Importing is most of a Python part's start. So it is started beside Postgres, imports the modules at once, and runs the
last one when the supervisor writes a line. The end of that pipe is the end of the supervisor.
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
    modules = [importlib.import_module(name) for name in sys.argv[1].split(",")]
    if not os.read(0, 1):
        return
    threading.Thread(target=end_with_the_supervisor, daemon=True).start()
    sys.argv = sys.argv[1:]
    modules[-1].main()


if __name__ == "__main__":
    main()
