"""What all contenders carry: a text that begins with the time at which it was published."""

from __future__ import annotations

import re
import time
from typing import Final

#: A time in nanoseconds of the machine's monotonic clock, which all processes share.
STAMP: Final = re.compile(rb"@(\d+) ")
#: Bytes of an event's text, the same for everybody.
SIZE: Final = 48


def stamped() -> bytes:
    """The text of an event that is published now."""
    return (b"@%d " % time.monotonic_ns()).ljust(SIZE, b".")
