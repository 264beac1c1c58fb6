"""A part of a log in memory, parsed at most once, and the bytes of what follows any position in it."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Any, Final

import orjson

from readalong.api.fanout.batch import WRITE, Batch
from readalong.api.wire.format import Format
from readalong.core.events import TEXT, Event, merge_key
from readalong.store.epochs import Epochs

#: Bytes that an event costs besides its data.
OVERHEAD: Final = 180
#: Characters of a run, unless a single event has more: the oldest events are dropped run by run.
_LONGEST: Final = 16_384


class TextRun:
    """Neighbouring pieces of text of one kind and choice."""

    __slots__ = ("_ends", "_fields", "_texts", "after", "cost", "epoch", "length", "merge_key", "size", "type")

    def __init__(self, after: int, first: Event, fields: dict[str, Any], merge_key: tuple[str, Any]) -> None:
        """Starts empty behind position `after`, for text like that of `first`, whose data is `fields`."""
        self.after = after
        self.type = first.type
        self.epoch = first.epoch
        self.merge_key = merge_key
        #: Characters of the text, and its bytes as JSON.
        self.length = 0
        self.size = 0
        #: Bytes of memory, when it was settled last.
        self.cost = 0
        self._fields = fields
        self._texts: list[str] = []
        #: Where each piece ends, in characters.
        self._ends = array("I")

    @property
    def seq(self) -> int:
        """The number of its last piece."""
        return self.after + len(self._ends)

    def add(self, text: str, pieces: tuple[int, ...], size: int) -> None:
        """Takes in the text that follows: one piece, or the pieces of these lengths."""
        if pieces:
            self._ends.extend(islice(accumulate(pieces, initial=self.length), 1, None))
        self.length += len(text)
        if not pieces:
            self._ends.append(self.length)
        self._texts.append(text)
        self.size += size

    def settle(self) -> None:
        """Joins what was added, all at once: piece by piece would copy the text for each."""
        text = "".join(self._texts)
        self._texts = [text]
        # Encoding leaves its UTF-8 with a text that is not ASCII.
        held = sys.getsizeof(text) + (0 if text.isascii() else 4 * len(text))
        self.cost = held + 4 * len(self._ends) + 3 * OVERHEAD

    def text(self, position: int) -> str:
        """Returns what follows `position`, which lies before its last number."""
        text = self._texts[0]
        return text if position <= self.after else text[self._ends[position - self.after - 1] :]

    def event(self, text: str, seq: int, lengths: tuple[int, ...] = ()) -> Event:
        """Returns an event with this text, up to number `seq`."""
        return Event(seq, self.type, orjson.dumps({**self._fields, "content": text}), lengths, self.epoch)

    def merged(self, position: int) -> Event:
        """Returns what follows `position` as one event that can be taken apart again."""
        skip = max(position - self.after, 0)
        start = self._ends[skip - 1] if skip else 0
        ends = self._ends[skip:]
        lengths = tuple(end - begin for begin, end in zip((start, *ends), ends, strict=False))
        return self.event(self.text(position), self.seq, lengths if len(lengths) > 1 else ())


class TextRuns:
    """Events without a gap: text in runs, all others as they came."""

    def __init__(self, after: int, longest: int = _LONGEST, epochs: Epochs | None = None) -> None:
        """Starts empty behind position `after`; a run holds up to `longest` characters. `epochs`: of events that do
        not name one."""
        self.after = after
        self.newest = after
        #: Bytes of memory, about.
        self.cost = 0
        self._longest = longest
        self._epochs = epochs
        self._items: list[TextRun | Event] = []

    def extend(self, events: Iterable[Event]) -> None:
        """Takes in events that follow the newest without a gap. Raises ValueError at one whose data is no JSON."""
        run = self._items[-1] if self._items else None
        if isinstance(run, TextRun):
            self.cost -= run.cost
        try:
            for event in events:
                fields = event.fields() if event.type in TEXT else {}
                key = merge_key(event.type, fields)
                if key is None:
                    self._settle(run)
                    run = self._known(event)
                    self._items.append(run)
                    self.cost += _cost(run)
                else:
                    text: str = fields["content"]
                    if not isinstance(run, TextRun) or run.merge_key != key or run.length + len(text) > self._longest:
                        self._settle(run)
                        run = TextRun(self.newest, self._known(event), fields, key)
                        self._items.append(run)
                    run.add(text, event.chunk_lengths, event.size)
                self.newest = event.seq
        finally:  # also before an event that was broken by hand
            self._settle(run)

    def shrink(self, cost: int) -> None:
        """Drops the oldest until the rest costs no more than this; the newest stays."""
        drop = 0
        while self.cost > cost and drop < len(self._items) - 1:
            self.cost -= _cost(self._items[drop])
            self.after = self._items[drop].seq
            drop += 1
        del self._items[:drop]

    def events(self, after: int) -> Iterator[Event]:
        """Yields the events after position `after`, at least `self.after`; text is merged."""
        for place in range(bisect_right(self._items, after, key=_seq), len(self._items)):
            item = self._items[place]
            yield item if isinstance(item, Event) else item.merged(after)

    def batch(self, wire: Format, after: int) -> Batch:
        """Returns what follows position `after`, at least `self.after`: about one write's worth, text merged."""
        frames: list[bytes] = []
        texts: list[str] = []
        position, size, last = after, 0, False
        first = place = bisect_right(self._items, after, key=_seq)
        while place < len(self._items):
            item = self._items[place]
            size += _size(item, after)
            if size > WRITE and place > first:
                break
            if isinstance(item, Event):
                frames.append(wire.encode(item))
                if item.terminal:
                    frames.append(wire.end())
                    last = True
            else:
                texts.append(item.text(after))
                following = self._items[place + 1] if place + 1 < len(self._items) else None
                joins = isinstance(following, TextRun) and following.merge_key == item.merge_key
                if not joins or size + _size(following, after) > WRITE:
                    frames.append(wire.encode(item.event("".join(texts), item.seq)))
                    texts = []
            position = item.seq
            place += 1
        return Batch(b"".join(frames), position, last)

    def _known(self, event: Event) -> Event:
        return event if self._epochs is None else event._replace(epoch=self._epochs.at(event.seq))

    def _settle(self, item: TextRun | Event | None) -> None:
        if isinstance(item, TextRun):
            item.settle()
            self.cost += item.cost


def _seq(item: TextRun | Event) -> int:
    return item.seq


def _cost(item: TextRun | Event) -> int:
    return item.cost if isinstance(item, TextRun) else len(item.data) + OVERHEAD


def _size(item: TextRun | Event | None, after: int) -> int:
    """Returns the bytes of what follows position `after` in it, as JSON, about."""
    if isinstance(item, TextRun):
        return item.size * (item.seq - max(item.after, after)) // (item.seq - item.after)
    return 0 if item is None else len(item.data)
