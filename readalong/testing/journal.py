"""A file of requests and ends of streams, one line of JSON each."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from readalong.testing.limits import JOURNAL_BYTES

_LAST_LINE_BYTES = 64


class Journal:
    """Appends to a file. Each line is one write, so that a killed server leaves whole lines.

    `{"t", "kind": "request", "call", "tag", "model", "status"}`: `tag` is the request's `demo.key`; `status` is null
    for a request that is never answered. `{"t", "kind": "closed", "call", "state", "tokens", "text"}`: the end of a
    stream. `{"t", "kind": "full"}`: the last line, before the file exceeds `max_bytes`.
    """

    def __init__(self, path: Path, max_bytes: int = JOURNAL_BYTES) -> None:
        """A new file is readable by its user alone. Raises OSError if the file cannot be written."""
        self._file = open(path, "ab", buffering=0, opener=_private)  # noqa: SIM115 (see __exit__)
        self._left = max_bytes - self._file.tell()
        self._full = False

    def request(self, call: str, tag: str, model: str, status: int | None) -> None:
        """Records a request when its status is known."""
        self._write("request", call=call, tag=tag, model=model, status=status)

    def closed(self, call: str, state: str, tokens: int, text: str) -> None:
        """Records the end of a stream."""
        self._write("closed", call=call, state=state, tokens=tokens, text=text)

    def _write(self, kind: str, **fields: object) -> None:
        if self._full:
            return
        line = _line(kind, **fields)
        if len(line) > self._left - _LAST_LINE_BYTES:
            self._full, line = True, _line("full")
        self._left -= len(line)
        self._file.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _line(kind: str, **fields: object) -> bytes:
    return orjson.dumps({"t": time.time(), "kind": kind, **fields}, option=orjson.OPT_APPEND_NEWLINE)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
