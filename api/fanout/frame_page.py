"""The frames of neighbouring events in a format with state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from readalong.api.fanout.batch import WRITE, Batch
from readalong.api.wire.format import Format
from readalong.core.events import Event

#: Bytes of memory that a frame costs besides its bytes.
_OVERHEAD: Final = 48


class FramePage:
    """One frame for each number, from the number behind `after` to `newest`."""

    __slots__ = ("_ended", "_frames", "after", "cost", "newest")

    def __init__(self, after: int) -> None:
        """Starts empty behind position `after`."""
        self.after = after
        self.newest = after
        #: Bytes of memory, about.
        self.cost = 0
        self._ended = False
        self._frames: list[bytes] = []

    def copy(self) -> FramePage:
        found = FramePage(self.after)
        found.newest, found.cost, found._ended = self.newest, self.cost, self._ended
        found._frames = [*self._frames]
        return found

    def extend(self, encoder: Format, events: Iterable[Event]) -> None:
        """Encodes the events that follow, chunk by chunk: how a log is stored must not show in the bytes."""
        for event in events:
            for chunk in event.expand():
                frame = encoder.encode(chunk)
                if chunk.terminal:
                    frame += encoder.end()
                    self._ended = True
                self._frames.append(frame)
                self.newest += 1
                self.cost += len(frame) + _OVERHEAD

    def batch(self, after: int) -> Batch:
        """Returns what follows position `after`, at least `self.after`: about one write's worth."""
        frames: list[bytes] = []
        size = 0
        for place in range(after - self.after, len(self._frames)):
            size += len(self._frames[place])
            if size > WRITE and frames:
                break
            frames.append(self._frames[place])
        position = after + len(frames)
        return Batch(b"".join(frames), position, self._ended and position == self.newest)

    def shrink(self, cost: int) -> None:
        """Drops the oldest frames if all cost more than this, a quarter at once; the newest stays."""
        if self.cost <= cost:
            return
        drop = 0
        while self.cost > cost * 3 // 4 and drop < len(self._frames) - 1:
            self.cost -= len(self._frames[drop]) + _OVERHEAD
            drop += 1
        del self._frames[:drop]
        self.after += drop
