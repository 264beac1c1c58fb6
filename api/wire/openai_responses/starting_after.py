"""The cut of a client that resumes: `starting_after` is the number of an event, which may lie inside the frames of one
event of the log."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(rb'^event: .*\ndata: \{"type":"[^"]*","sequence_number":(\d+),')


class StartingAfter:
    """Leaves out the frames up to and with this number."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._passed = False

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        if self._passed or (first := _NUMBER.match(frames)) is None:
            return frames, False
        skipped = self._number + 1 - int(first[1])
        if skipped <= 0:
            self._passed = True
            return frames, False
        *_, rest = parts = frames.split(b"\n\n", skipped)
        self._passed = len(parts) > skipped and bool(rest)
        return (rest if len(parts) > skipped else b""), False
