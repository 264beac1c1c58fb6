"""The files that a run leaves in its directory, one JSON object a line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson


class History:
    """Writes the clients' events to `clients.jsonl` and the faults to `faults.jsonl`.

    A trouble is an event that must never happen and has no line in either; it goes to `troubles.jsonl` and fails the
    run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: Lines by kind, of both files.
        self.counts: Counter[str] = Counter()
        self.troubles: list[str] = []
        self._clients = (directory / "clients.jsonl").open("ab")
        self._faults = (directory / "faults.jsonl").open("ab")

    def client(self, kind: str, **fields: Any) -> None:
        """Writes an action or an event of a client, now."""
        self.counts[kind] += 1
        self._clients.write(_line({"t": time.time(), "kind": kind, **fields}))

    def fault(self, kind: str, at: float, **fields: Any) -> None:
        """Writes a fault that started at `at`."""
        self.counts[kind] += 1
        self._faults.write(_line({"t": at, "kind": kind, **fields}))

    def trouble(self, what: str) -> None:
        """Writes an event that must never happen."""
        self.troubles.append(what)
        self._append("troubles.jsonl", {"t": time.time(), "kind": "trouble", "what": what})

    def keep(self, name: str, value: Mapping[str, Any]) -> None:
        """Writes one object as a file of its own."""
        (self.directory / name).write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))

    def keep_lines(self, name: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Writes objects as a file, one a line."""
        with (self.directory / name).open("wb") as file:
            for value in values:
                file.write(_line(value))

    def _append(self, name: str, value: Mapping[str, Any]) -> None:
        with (self.directory / name).open("ab") as file:
            file.write(_line(value))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.close()
        self._faults.close()


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
