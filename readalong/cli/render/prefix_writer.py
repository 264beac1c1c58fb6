"""A stream whose lines begin with the name of a job."""

from __future__ import annotations

import io
from typing import TextIO

from rich.cells import cell_len


class PrefixWriter(io.StringIO):
    """Writes whole lines to `stream`, each behind `prefix`, so that several texts can be told apart.

    `width`: longer lines are cut at a space, so that a text without newlines is seen as it comes. None: never.
    """

    def __init__(self, stream: TextIO, prefix: str, width: int | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._prefix = prefix
        self._room = None if width is None else max(20, width - cell_len(prefix) - 1)
        self._rest = ""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(self._wrapped(line))
        self._rest = self._wrapped(self._rest)
        return len(text)

    def flush(self) -> None:
        """Flushes what was written. An unfinished line waits for its end."""
        self._stream.flush()

    def end(self) -> None:
        """Writes the unfinished line."""
        if self._rest:
            self._line(self._rest)
        self._rest = ""
        self._stream.flush()

    def _wrapped(self, line: str) -> str:
        """Writes what is longer than a line has room for, and returns the rest."""
        while self._room is not None and cell_len(line) > self._room:
            end = line.rfind(" ", 1, self._room + 1)
            end = end if end > 0 else self._room
            self._line(line[:end])
            line = line[end:].removeprefix(" ")
        return line

    def _line(self, line: str) -> None:
        self._stream.write(f"{self._prefix}{line}\n")
