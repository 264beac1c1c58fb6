"""The events of several jobs, each read by a thread, in one queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from readalong.cli.errors import CliError

Event = TypeVar("Event")

#: Items that wait for a reader. A slow terminal holds up the connections, and not the memory.
_WAITING: Final = 1000


class Item(NamedTuple, Generic[Event]):
    """An event of the stream `name`, a note about it, or its end, with the error that ended it."""

    name: str
    event: Event | None = None
    note: str | None = None
    error: CliError | None = None


class Streams(Generic[Event]):
    """Reads blocking iterators at the same time. The threads end with the process.

    A signal interrupts `next`, which no read of a socket would allow in an orderly way.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Item[Event]] = queue.Queue(_WAITING)
        self._broken: BaseException | None = None

    def start(self, name: str, events: Iterable[Event]) -> None:
        """Begins to read `events`."""
        threading.Thread(target=self._read, args=(name, iter(events)), name=f"stream {name}", daemon=True).start()

    def note(self, name: str, line: str) -> None:
        """Puts a note among the events. Any thread may call it."""
        self._queue.put(Item(name, note=line))

    def next(self, timeout: float | None = None) -> Item[Event] | None:
        """Returns the next item; None after `timeout` seconds without one."""
        try:
            item = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if self._broken is not None:
            raise self._broken
        return item

    def _read(self, name: str, events: Iterator[Event]) -> None:
        error: CliError | None = None
        try:
            for event in events:
                self._queue.put(Item(name, event))
        except CliError as caught:
            error = caught
        except BaseException as caught:
            # A bug: the reader of the queue raises it, instead of waiting for ever.
            self._broken = caught
        self._queue.put(Item(name, error=error))
