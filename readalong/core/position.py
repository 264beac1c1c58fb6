"""A position in a job's log, as a client sends it back."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: A position behind every event; JavaScript counts no further.
LARGEST: Final = 2**53
#: The length is bounded: Python refuses to read a number of some thousand digits.
_FORM: Final = re.compile(r"0*([0-9]{1,16})(?:-([0-9A-Za-z_]{1,32}))?", re.ASCII)


class Position(NamedTuple):
    """The number of the last event that was seen, and the epoch of the log that it was seen in.

    Without an epoch it means that number in whatever log there is.
    """

    seq: int
    epoch: str = ""

    @classmethod
    def parse(cls, text: str) -> Position:
        """Reads an event's id, `40-9f3c21`, or a bare number. Raises ValueError."""
        found = _FORM.fullmatch(text)
        if found is None or int(found[1]) > LARGEST:
            raise ValueError(f"not the id of an event: {text[:80]!r}")
        return cls(int(found[1]), found[2] or "")

    def __str__(self) -> str:
        return f"{self.seq}-{self.epoch}" if self.epoch else str(self.seq)
