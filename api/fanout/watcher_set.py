"""The watchers of a feed, and how all of them are told of something new."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

from readalong.store.epochs import Epochs

#: Watchers that are written to in one turn of the loop.
AT_ONCE: Final = 64


class FeedWatcher(Protocol):
    """A stream of a feed, as the feed sees it."""

    def push(self) -> None:
        """Writes what is new. Raises nothing."""

    def lose(self, seq: int, ahead: Epochs | None = None) -> None:
        """Number `seq` and all that follow belong to another claim now. `ahead`: the epochs of the log from there on; a
        watcher with a position of it may wait for the events."""

    def beat(self, seconds: float, heartbeat: float) -> None:
        """The hub calls it every so many seconds. Writes a comment if nothing was written for a heartbeat."""

    def close(self) -> None:
        """Ends the stream without a terminal event."""


class WatcherSet:
    """Pushes some watchers in each turn of the loop: a thousand writes take many milliseconds, in which neither the
    first watcher nor another job's would get an event. A watcher that is pushed late gets all that has gathered."""

    def __init__(self) -> None:
        self._watchers: set[FeedWatcher] = set()
        #: Those of them that do not keep a job which ends with its watchers.
        self._onlookers: set[FeedWatcher] = set()
        #: Watchers to push in the next turns of the loop, and whether all are to be pushed once more.
        self._waiting: list[FeedWatcher] = []
        self._again = False

    def __len__(self) -> int:
        return len(self._watchers)

    def __iter__(self) -> Iterator[FeedWatcher]:
        return iter(self._watchers)

    @property
    def keepers(self) -> int:
        """How many of them keep a job which ends with its watchers."""
        return len(self._watchers) - len(self._onlookers)

    def add(self, watcher: FeedWatcher, *, keeps: bool = True) -> None:
        self._watchers.add(watcher)
        if not keeps:
            self._onlookers.add(watcher)

    def remove(self, watcher: FeedWatcher) -> bool:
        """Returns whether the watcher was there."""
        there = watcher in self._watchers
        self._watchers.discard(watcher)
        self._onlookers.discard(watcher)
        return there

    def push(self) -> None:
        """Pushes all watchers."""
        if self._waiting:
            self._again = True
        else:
            self._waiting = list(self._watchers)
            self._push_some()

    def _push_some(self) -> None:
        waiting = self._waiting
        for _ in range(min(AT_ONCE, len(waiting))):
            waiting.pop().push()
        if self._again and not waiting:
            self._again = False
            waiting.extend(self._watchers)
        if waiting:
            asyncio.get_running_loop().call_soon(self._push_some)
