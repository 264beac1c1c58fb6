"""A file of what the server saw, one line of JSON for each request and for each end of a stream."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson


class Journal:
    """Appends to a file, each line in one write, so that a server that is killed leaves whole lines.

    `{"t", "kind": "request", "call", "tag", "model", "status"}`: `tag` is the request's `demo.key`, `status` null if it
    gets no answer, ever. `{"t", "kind": "closed", "call", "state", "tokens", "text"}`: the end of a stream.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be written."""
        self._file = path.open("ab", buffering=0)

    def request(self, call: str, tag: str, model: str, status: int | None) -> None:
        """A request, as soon as its status is known."""
        self._write("request", call=call, tag=tag, model=model, status=status)

    def closed(self, call: str, state: str, tokens: int, text: str) -> None:
        """The end of a stream."""
        self._write("closed", call=call, state=state, tokens=tokens, text=text)

    def _write(self, kind: str, **fields: object) -> None:
        line = {"t": time.time(), "kind": kind, **fields}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
