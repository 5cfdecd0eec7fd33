"""Ends a supervisor's children when the supervisor ends, however it ends.

Run as a script: `python -I -S watchdog.py`. All children are in this process's group, so none has to be announced
(a supervisor killed between starting a child and telling about it would leave that child behind), and neither Linux'
PDEATHSIG nor the children's help is needed. The supervisor holds the other end of standard input.
"""

import os
import signal
import sys
import time

GRACE_S = 8.0


def wait_for_the_supervisor() -> None:
    while sys.stdin.buffer.read(4096):
        pass


def end_group(group: int) -> None:
    """Ask, wait, then kill. The caller must not be in the group."""
    # SIGINT asks everything that we start to stop; for Postgres it is "fast" where SIGTERM would wait for its clients.
    os.killpg(group, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        os.killpg(group, 0)  # ProcessLookupError: nobody is left
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's business
    group = os.getpgrp()
    wait_for_the_supervisor()
    if os.fork():
        os._exit(0)
    os.setsid()  # a group's first process cannot leave it, its child can
    try:
        end_group(group)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
