"""What one client of a response gets: the events after a number, and nothing behind the loss of the log."""

from __future__ import annotations

import re
from typing import Final

from readalong.api.wire.format import Cut

#: How the frame begins that tells of a lost log, and no other: inside JSON there is no line break.
_LOST: Final = b"event: error\n"
#: How the frame of a response's end begins.
_END: Final = re.compile(rb"^event: response\.(?:completed|incomplete|failed)\n", re.MULTILINE)
_NUMBER: Final = re.compile(rb'^event: .*\ndata: \{"type":"[^"]*","sequence_number":(\d+),')


class UntilLost:
    """The cut that ends a stream with the error of a lost log. The events that follow would repeat numbers, and to the
    SDKs such an error is no end."""

    done: Final = False

    def __init__(self, inner: Cut | None = None) -> None:
        """`inner` sees the frames first, until it is done."""
        self._inner = inner
        self.marker = _LOST if inner is None else b""

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        ends = False
        if self._inner is not None:
            frames, ends = self._inner.cut(frames)
            if self._inner.done:
                self._inner, self.marker = None, _LOST
        lost = frames.find(_LOST)
        return (frames, ends) if lost < 0 else (frames[: frames.index(b"\n\n", lost) + 2], True)


class StartingAfter:
    """Leaves out the frames up to and with this number, which may lie inside the frames of one event of the log.

    A client whose number lies behind the response's end has seen a log that Redis has lost. It gets the end, which has
    the whole output: of an empty stream it would ask for ever.
    """

    marker: Final = b""

    def __init__(self, number: int) -> None:
        self._number = number
        self.done = False

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        if self.done or (first := _NUMBER.match(frames)) is None:
            return frames, False
        skipped = self._number + 1 - int(first[1])
        if skipped <= 0:
            self.done = True
            return frames, False
        *_, rest = parts = frames.split(b"\n\n", skipped)
        if len(parts) > skipped:
            self.done = bool(rest)
            return rest, False
        end = _END.search(frames)
        return (b"" if end is None else frames[end.start() :]), False
