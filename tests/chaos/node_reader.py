"""A reader that is the JavaScript client library in a process of Node, which writes what it sees on its stdout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.client_plan import Reading
from tests.chaos.history import History
from tests.chaos.reader import How

_SCRIPT: Final = Path(__file__).parents[1] / "clients" / "node" / "chaos_reader.mjs"
#: Bytes of a line: an event holds a whole answer.
_LIMIT: Final = 2**26
_NUMBERS: Final = count(1)


class NodeReader:
    """Watches one job as a program does that uses clients/js."""

    def __init__(self, history: History, urls: Sequence[str], job_id: str, reading: Reading, rng: Random) -> None:
        self._history = history
        self._urls = list(urls)
        self._job_id = job_id
        self._reading = reading
        self._first = rng.randrange(len(urls))
        self._name = f"n{next(_NUMBERS)}"
        #: The newest connection.
        self._watch = ""
        self._how: How | None = None

    async def run(self) -> None:
        """Reads to the end. A cancelled reader gave up, which the history records."""
        self._history.client("client", client=self._name, job=self._job_id, after=self._reading.after)
        plan = {
            "urls": self._urls[self._first :] + self._urls[: self._first],
            "job": self._job_id,
            "after": self._reading.after,
            "leaves": self._reading.leaves,
            "drops": [drop for drop in self._reading.drops if drop],
        }
        pipe = asyncio.subprocess.PIPE
        node = await asyncio.create_subprocess_exec("node", _SCRIPT, json.dumps(plan), stdout=pipe, limit=_LIMIT)
        assert node.stdout is not None
        try:
            async for line in node.stdout:
                if not line.endswith(b"\n"):
                    break  # the process died in the middle of it
                kind, *fields = json.loads(line)
                self._saw(kind, fields)
        finally:
            if node.returncode is None:
                node.kill()
            await node.wait()
            self._history.client("client_end", client=self._name, how=self._how or "gave_up")

    def _saw(self, kind: str, fields: list[Any]) -> None:
        if kind == "end":
            (self._how,) = fields
        elif kind == "trouble":
            self._history.trouble(f"{self._name}: {fields[0]}, for a watcher of {self._job_id}")
        elif kind == "close":
            self._history.client("close", watch=self._watch, how=fields[0])
        elif kind == "open":
            replica, position, status = fields
            self._watch = f"nw{next(_NUMBERS)}"
            number, _, epoch = position.partition("-")
            opened = {"client": self._name, "job": self._job_id, "after": int(number or 0), "epoch": epoch}
            replica = (replica + self._first) % len(self._urls)
            self._history.client("open", watch=self._watch, **opened, replica=replica, status=status)
        else:
            position, name, data = fields
            number, _, epoch = position.partition("-")
            seen = {"id": int(number), "epoch": epoch, "type": name, "data": data}
            self._history.client("event", watch=self._watch, **seen)
