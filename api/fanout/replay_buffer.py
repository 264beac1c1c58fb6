"""The newest events of one job that a process keeps."""

from __future__ import annotations

from typing import Final

from readalong.api.fanout.batch import WRITE, Batch
from readalong.api.fanout.text_runs import OVERHEAD, TextRuns
from readalong.api.wire.format import Format
from readalong.core.events import Event

#: From more events than these on a client gets them merged; so many or fewer are sent as they came.
_AS_THEY_CAME: Final = 16
#: Events that wait to be parsed until a watcher wants them merged; mostly none does.
_UNPARSED: Final = 1024


class ReplayBuffer:
    """Events without a gap, up to the newest known; the oldest are dropped beyond `max_bytes` of memory."""

    def __init__(self, after: int, max_bytes: int) -> None:
        """Starts empty behind position `after`."""
        self.newest = after
        self.ended = False
        self._max_bytes = max_bytes
        self._runs = TextRuns(after, min(max_bytes // 32, 16_384))
        #: The newest events as they came. Events beyond `_runs.newest` are not in the runs yet.
        self._recent: list[Event] = []
        self._recent_cost = 0

    @property
    def oldest(self) -> int:
        """The position that the kept events follow: watchers behind it must read the log."""
        return self._runs.after

    @property
    def cost(self) -> int:
        """Bytes of memory of the events kept, about."""
        return self._runs.cost + self._recent_cost

    def add(self, event: Event) -> None:
        """Takes in the event after the newest, or a merged one. Raises ValueError for one that does not follow."""
        if event.after != self.newest:
            raise ValueError(f"event {event.seq} does not follow {self.newest}")
        if event.chunk_lengths:
            self._parse()
            self._runs.extend((event,))
            self._recent.clear()
            self._recent_cost = 0
        else:
            self._recent.append(event)
            self._recent_cost += len(event.data) + OVERHEAD
        self.newest = event.seq
        self.ended = event.terminal
        if len(self._recent) >= _UNPARSED:
            self._parse()
        if self._runs.cost + self._recent_cost > self._max_bytes:
            self._shrink()

    def repeats(self, event: Event) -> bool:
        """Returns whether this event, whose number is not beyond the newest, is among the events kept as they came."""
        place = len(self._recent) - 1 - (self.newest - event.seq)
        return place >= 0 and self._recent[place][:3] == event[:3]

    def batch(self, wire: Format, after: int) -> Batch | None:
        """Returns what follows position `after` in a format without state, about one write's worth; None if that is
        not kept any more."""
        if after < self.oldest:
            return None
        behind = self.newest - after
        if 0 < behind <= min(_AS_THEY_CAME, len(self._recent)):
            return _as_they_came(wire, self._recent[-behind:])
        self._parse()
        return self._runs.batch(wire, after)

    def events(self, after: int) -> list[Event] | None:
        """Returns the events after position `after`, text perhaps merged; None if they are not kept any more."""
        behind = self.newest - after
        if after < self.oldest or behind <= 0:
            return None if after < self.oldest else []
        if behind <= len(self._recent):
            return self._recent[-behind:]
        self._parse()
        return list(self._runs.events(after))

    def _parse(self) -> None:
        """Puts what is new into the runs, and keeps the newest as they came too."""
        if new := self.newest - self._runs.newest:
            self._runs.extend(self._recent[-new:])
            self._forget(len(self._recent) - _AS_THEY_CAME)
            while self._recent_cost > min(WRITE, self._max_bytes // 4):
                self._forget(1)

    def _shrink(self) -> None:
        """Drops a quarter at once: one at a time would move the whole list for each event."""
        self._parse()
        self._runs.shrink(self._max_bytes * 3 // 4 - self._recent_cost)

    def _forget(self, count: int) -> None:
        """Drops the oldest of the recent events, which are in the runs."""
        if count > 0:
            self._recent_cost -= sum(len(event.data) + OVERHEAD for event in self._recent[:count])
            del self._recent[:count]


def _as_they_came(wire: Format, events: list[Event]) -> Batch:
    size = len(events[0].data)
    for count, event in enumerate(events[1:], 1):
        size += len(event.data)
        if size > WRITE:
            # A long event goes alone, as the same bytes for all watchers, whatever their positions before it.
            events = events[:count]
            break
    frames = b"".join(map(wire.encode, events))
    last = events[-1].terminal
    return Batch(frames + wire.end() if last else frames, events[-1].seq, last)
