"""A process that has imported what APIs, workers and the demo model import, and forks them.

A fork costs milliseconds of CPU; a start costs up to two seconds.

`python -m tests.support.forkserver FD` reads orders from a Unix socket, and ends when the socket closes. An order is
one byte with two file descriptors: the file that the child writes to, and a socket. The client writes the order as
JSON to that socket. The fork server writes back the child's id, and later its exit code, each a line.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

_IMPORTED: Final = ("readalong.api.server", "readalong.testing.server", "readalong.worker.main")


def serve(control: socket.socket) -> Callable[[], object] | None:
    """Returns in each child, with the program to run, and in the server when its socket has closed, with None."""
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    reports: dict[int, socket.socket] = {}
    while True:
        ready = select.select([control, wake], [], [])[0]
        if wake in ready:
            wake.recv(4096)
        while reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with reports.pop(pid) as report:
                _tell(report, os.waitstatus_to_exitcode(status))
        if control in ready:
            byte, handles, *_ = socket.recv_fds(control, 1, 2)
            if not byte:
                return None
            output, report = handles[0], socket.socket(fileno=handles[1])
            with report.makefile("rb") as told:
                order = json.load(told)
            pid = os.fork()
            if not pid:
                for one in (control, wake, waker, report, *reports.values()):
                    one.close()
                return _become(output, **order)
            os.close(output)
            reports[pid] = report
            _tell(report, pid)


def _tell(report: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):  # the client no longer wants to know
        report.sendall(b"%d\n" % number)


def _become(output: int, words: Sequence[str], group: int, cwd: str, environment: dict[str, str]) -> Callable[[], Any]:
    """Sets this process up as a Python started with these words. Returns the program to run."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, group)
    os.chdir(cwd)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    option, program, *rest = words
    sys.argv = [option, *rest]
    if option == "-m":
        return partial(runpy.run_module, program, run_name="__main__", alter_sys=True)
    return partial(exec, compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # each child's first collection would copy these pages
    # The child runs here, so that its exceptions end it as they end any Python program.
    if (main := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        main()
