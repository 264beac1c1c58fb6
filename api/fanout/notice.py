"""What watchers of a job are told that is not in its log: it waits for a worker."""

from __future__ import annotations

import orjson

from readalong.api.wire.format import Format, fresh
from readalong.core.events import UNNUMBERED, Event
from readalong.store.job_record import rfc3339


class Notice:
    """Each watcher is told once of each notice. The same bytes go to all of one format."""

    def __init__(self, since: int) -> None:
        """`since`: when it became known, in milliseconds since the epoch."""
        self._event = Event(UNNUMBERED, "waiting", orjson.dumps({"for": "worker", "since": rfc3339(since)}))
        self._frames: dict[Format, bytes] = {}

    def frames(self, wire: Format) -> bytes:
        """Returns the notice in this format; b"" if the format does not show it."""
        found = self._frames.get(wire)
        if found is None:
            found = self._frames[wire] = fresh(wire).encode(self._event)
        return found
