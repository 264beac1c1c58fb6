"""The payload of all contenders: a text that begins with the time of its publish."""

from __future__ import annotations

import re
import time
from typing import Final

#: A time in nanoseconds of the machine's monotonic clock, which all processes share.
STAMP: Final = re.compile(rb"@(\d+) ")
#: Bytes of an event's text, the same for all contenders.
SIZE: Final = 48


def stamped() -> bytes:
    """Returns the text of an event that is published now."""
    return (b"@%d " % time.monotonic_ns()).ljust(SIZE, b".")
