"""The events of one job that a process keeps, and the bytes that its watchers share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from api.formats import Format
from readalong.events import Event, merge

#: What one write to a client may hold, about, in bytes: a client that stops reading costs this and a socket's buffer.
_WRITE: Final = 65_536
#: From how many events on a client gets them merged; fewer are sent as they came.
_MERGE: Final = 16
#: Batches that are kept for others at the same position; watchers at many positions must not fill the memory.
_SHARED: Final = 32


@dataclass(frozen=True)
class Batch:
    """Bytes for a watcher, and its position after them. `last` is set with the terminal event."""

    frames: bytes
    position: int
    last: bool

    @cached_property
    def chunk(self) -> bytes:
        """The frames as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1), made once for all who get them."""
        return b"%x\r\n%b\r\n" % (len(self.frames), self.frames)


class Window:
    """Events without a gap, up to the newest known; the oldest are dropped beyond `max_bytes` of data.

    Watchers who stand at the same position get the same bytes object, encoded once for each format.
    """

    def __init__(self, after: int, max_bytes: int) -> None:
        """Starts empty behind position `after`."""
        self.newest = after
        self.ended = False
        self._events: list[Event] = []
        self._bytes = 0
        self._max_bytes = max_bytes
        self._batches: dict[tuple[Format, int], Batch] = {}

    @property
    def oldest(self) -> int:
        """The position that the kept events follow: watchers behind it must read the log."""
        return self.newest - len(self._events)

    def add(self, event: Event) -> None:
        """Takes in the event after the newest. Raises ValueError for any other number."""
        if event.seq != self.newest + 1:
            raise ValueError(f"event {event.seq} does not follow {self.newest}")
        self.newest = event.seq
        self.ended = event.terminal
        self._events.append(event)
        self._bytes += len(event.data)
        self._batches.clear()
        if self._bytes > self._max_bytes:
            self._shrink()

    def batch(self, wire: Format, after: int) -> Batch | None:
        """What follows position `after`, about one write's worth; None if that is not kept any more."""
        key = (wire, after)
        found = self._batches.get(key)
        if found is None:
            start = len(self._events) - (self.newest - after)
            if start < 0:
                return None
            if len(self._batches) >= _SHARED:
                del self._batches[next(iter(self._batches))]
            found = self._batches[key] = pack(wire, self._events[start:], after)
        return found

    def _shrink(self) -> None:
        """Drops a quarter at once: one at a time would move the whole list for each event."""
        drop = 0
        while self._bytes > self._max_bytes * 3 // 4 and drop < len(self._events) - 1:
            self._bytes -= len(self._events[drop].data)
            drop += 1
        del self._events[:drop]


def pack(wire: Format, events: list[Event], after: int) -> Batch:
    """The first of these events, about one write's worth, as bytes; many are merged."""
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.data)
        if size > _WRITE:
            events = events[:count]
            break
    position = events[-1].seq if events else after
    last = bool(events) and events[-1].terminal
    shown = merge(events) if len(events) > _MERGE else events
    return Batch(b"".join(map(wire, shown)), position, last)
