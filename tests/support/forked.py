"""Python processes that are forked from one that has imported what they need (see `forkserver`), used like a Popen."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Final, Self

_ROOT: Final = Path(__file__).parents[2]
_STARTED_WITHIN: Final = 120.0  # seconds; the first one waits for the forkserver's imports


class Forked:
    """A child of the forkserver: what `subprocess.Popen` would be for the same words, as far as the tests use it."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report
        self._reading = threading.Lock()  # who is told the code is told it once, and a test may kill from a thread

    @classmethod
    def start(cls, words: Sequence[str], group: int, environment: Mapping[str, str], output: IO[bytes]) -> Self:
        """`python <words>` in the project's folder and in a process group, writing to a file.

        `words`: `-c CODE` or `-m MODULE`, and what the program is told.
        """
        order = {"words": [*words], "group": group, "cwd": str(_ROOT), "environment": {**environment}}
        report, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_zygote(), [b"!"], [output.fileno(), theirs.fileno()])
        report.sendall(json.dumps(order).encode())
        report.shutdown(socket.SHUT_WR)
        report.settimeout(_STARTED_WITHIN)
        return cls(_line(report), report)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired if it has not ended within so many seconds."""
        with self._reading:
            if self.returncode is None:
                self._report.settimeout(timeout)
                try:
                    self.returncode = _line(self._report)
                except (TimeoutError, BlockingIOError):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
                self._report.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _line(report: socket.socket) -> int:
    """The next number. Raises TimeoutError or BlockingIOError when it does not come in time."""
    line = b""
    while not line.endswith(b"\n"):
        more = report.recv(1)
        assert more, "the forkserver has ended"
        line += more
    return int(line)


@cache
def _zygote() -> socket.socket:
    """Where one takes orders, as long as this process runs."""
    ours, theirs = socket.socketpair()
    with theirs:
        # A group of its own: a Ctrl-C is for the test run.
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forkserver", str(theirs.fileno())],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
