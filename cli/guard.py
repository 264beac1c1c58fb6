"""Kills the demo's processes when the demo itself dies.

    python guard.py GRACE ALIVE FOLDER

Run by its path, with the standard library alone. The demo's processes are in the guard's process group from the moment
they are born, so the guard needs to be told nothing: not even the death of the demo between a fork and a message could
leave a process behind. It works for binaries that are not ours and needs no call that only one kernel has.

stdin: a pipe that only the demo holds; its end means that the demo is gone, however it went.
ALIVE: a pipe that the demo and every process of the group hold; its end means that all have ended.
GRACE: seconds between SIGTERM and SIGKILL; 0: SIGKILL at once.
FOLDER: removed, with all that is in it, before the SIGKILL, which ends the guard too.
"""

import os
import select
import shutil
import signal
import sys


def main() -> None:
    if os.getpgrp() != os.getpid():
        sys.exit("guard: not the leader of a process group; it would kill its caller's")
    # Its own SIGTERM to the group must not end it before it has seen the others end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # asks an API for a report
    grace, alive, folder = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    while os.read(0, 1):
        pass
    if grace > 0:
        os.killpg(0, signal.SIGTERM)
        select.select([alive], [], [], grace)
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
