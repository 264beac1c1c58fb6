"""Python processes forked from one that has imported their modules (see `forkserver`), used like a Popen."""

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
_STARTED_WITHIN: Final = 120.0  # seconds; the first child waits for the fork server's imports


class Forked:
    """A child of the fork server, with the part of the interface of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report
        self._reading = threading.Lock()  # the server sends the code once, and a test may kill from a thread

    @classmethod
    def start(cls, words: Sequence[str], group: int, environment: Mapping[str, str], output: IO[bytes]) -> Self:
        """Starts `python <words>` in the project's folder and in a process group, with its output in a file.

        `words`: `-c CODE` or `-m MODULE`, and the program's arguments.
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
        """The exit code, negative for a signal; None while the process runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
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
    """Reads the next number. Raises TimeoutError or BlockingIOError when it does not come in time."""
    line = b""
    while not line.endswith(b"\n"):
        more = report.recv(1)
        assert more, "the forkserver has ended"
        line += more
    return int(line)


@cache
def _zygote() -> socket.socket:
    """Returns the socket of the fork server, which lives as long as this process."""
    ours, theirs = socket.socketpair()
    with theirs:
        # In its own group, so that a Ctrl-C reaches only the test run.
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
