"""Commands in a real pseudo-terminal, which they control: a Ctrl-C is a key."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.cli.processes import wait_for

#: Makes the terminal at stdin its own, and becomes the command.
_TAKE = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
#: Sequences that move the cursor, colour the text, or change the screen.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>78])")

CTRL_C = b"\x03"


class InTerminal:
    """A command in a terminal. `raw` is its output so far, `text` the same without sequences."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._ours = ours
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()

    @property
    def raw(self) -> str:
        return b"".join(self._read).decode(errors="replace")

    @property
    def text(self) -> str:
        return _SEQUENCE.sub("", self.raw).replace("\r\n", "\n")

    def until(self, part: str) -> None:
        """Waits until the output has this part."""
        wait_for(lambda: part in self.text or self.process.poll() is not None)
        assert part in self.text, self.text

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def resize(self, columns: int, rows: int) -> None:
        _resize(self._ours, columns, rows)

    def ended(self) -> int:
        """Waits for the end, and returns the exit code."""
        code = self.process.wait(100)
        self._reader.join(100)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)

    def _collect(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # Linux: no process has the terminal open any more
                return
            if not piece:
                return
            self._read.append(piece)


@contextmanager
def in_terminal(
    *words: str, columns: int = 80, rows: int = 24, program: Sequence[str] = ("-m", "readalong.cli"), **environment: str
) -> Iterator[InTerminal]:
    """Runs `readalong` with these words."""
    ours, its = os.openpty()
    _resize(its, columns, rows)
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE, *program, *words],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**variables, "TERM": "xterm-256color", **environment},
    )
    os.close(its)
    terminal = InTerminal(ours, process)
    try:
        yield terminal
    finally:
        terminal.close()


def _resize(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
