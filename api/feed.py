"""A job's newest events in this process, shared by all who watch it.

The order is: subscribe, then read the log, then take live events. What the channel repeats is skipped by its number;
what it lost shows as a gap and is read from the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from api.formats import Format
from api.notice import Notice
from api.runs import Batch, Runs, Shared
from api.watcher import Watcher
from api.window import Window
from readalong.errors import JobNotFound, StoreUnavailable
from readalong.events import SPAN, Event
from readalong.log import Log
from readalong.states import ENDED

logger = logging.getLogger(__name__)

#: Events before the newest that a new feed reads, if a watcher wants them.
_REACH: Final = 8 * SPAN
#: Pages of one log that are read at the same time.
_READS: Final = 4
#: Bytes of batches from pages that are kept for others at the same position.
_SHARED: Final = 524_288
#: Watchers that are written to in one turn of the loop.
AT_ONCE: Final = 64


class Feed:
    """A window of the newest events, and pages of `SPAN` older ones, so that a thousand who come back at once read
    each page once. Both are bounded by `max_bytes`."""

    def __init__(self, job_id: str, log: Log, max_bytes: int, on_gone: Callable[[Feed], None]) -> None:
        """`on_gone(feed)` is called when a repair finds that the job is erased, or that Redis has lost it, the end that
        is known here, or so much that it has ended before the newest event known here."""
        self.job_id = job_id
        self.watchers: set[Watcher] = set()
        #: The job is erased, or the process stops: nothing more will come.
        self.closed = False
        #: The job ends when nobody watches it.
        self.cancel_on_disconnect = False
        #: Its own grace, in milliseconds, or None.
        self.grace: int | None = None
        #: What those watchers are told that have all that is in the log.
        self.notice: Notice | None = None
        self._log = log
        self._max_bytes = max_bytes
        self._on_gone = on_gone
        self._window = Window(0, max_bytes)
        self._repairing: asyncio.Task[None] | None = None
        self._stale = False
        self._started = False
        self._pages: dict[int, asyncio.Task[Runs]] = {}
        self._reads = asyncio.Semaphore(_READS)
        self._shared = Shared(_SHARED)
        #: Watchers that are to be told of something new in the next turns of the loop, and whether all are once more.
        self._telling: list[Watcher] = []
        self._again = False

    def __repr__(self) -> str:
        window = self._window
        return f"<Feed {self.job_id} {window.oldest}..{window.newest} watchers={len(self.watchers)}>"

    @property
    def ended(self) -> bool:
        """Whether the terminal event is here."""
        return self._window.ended

    @property
    def newest(self) -> int:
        """The number of the newest event known."""
        return self._window.newest

    async def start(self, position: int, last_seq: int) -> None:
        """Reads the log from `position` on, or from a little before its last known number. Raises StoreUnavailable,
        JobNotFound if Redis has lost the job since."""
        # The last event is always read: without the terminal one, a watcher at the very end would wait for ever.
        self._window = Window(max(min(position, last_seq - 1), last_seq - _REACH, 0), self._max_bytes)
        await self._read_on()
        if self._window.newest < last_seq and await is_lost(self._log, self.job_id):
            raise JobNotFound(f"job {self.job_id} is gone from Redis")
        self._started = True
        if self._stale and not self.ended:
            # The channel spoke meanwhile. Not read before we begin: a fast job speaks during each read, for ever.
            self.repair()

    def add(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)

    def take(self, events: list[Event]) -> None:
        """Takes in what the channel said."""
        if not self._started:
            self._stale = True
            return
        before = self._window.newest
        for event in events:
            if self._window.ended:
                break
            if event.seq <= self._window.newest:
                if event.terminal:
                    self.repair()  # an end before the newest: has Redis lost what we have seen?
                continue
            if event.seq > self._window.newest + 1:
                self.repair()
                break
            self._window.add(event)
        if self._window.newest > before:
            self.notice = None
            self._push()

    def tell(self, notice: Notice | None) -> None:
        """Tells those who watch, and those who begin to before something new comes. None: there is nothing to tell."""
        self.notice = notice
        if notice is not None:
            self._push()

    def repair(self) -> None:
        """Reads what the channel may have lost, now or as soon as Redis answers."""
        if self.closed:
            return
        self._stale = True
        if self._repairing is None and self._started:
            self._repairing = asyncio.create_task(self._repair(), name=f"repair {self.job_id}")

    def batch(self, wire: Format, after: int) -> Batch | None:
        """What follows position `after`; None if only the log has it. Nothing new: a batch without bytes."""
        if after >= self._window.newest:
            return Batch(b"", after, False)
        return self._window.batch(wire, after)

    def over_at(self, position: int) -> bool:
        """Whether nothing will ever follow `position`."""
        return self.closed or (self._window.ended and position >= self._window.newest)

    async def history(self, wire: Format, after: int) -> Batch:
        """What follows position `after`, from the log. Raises StoreUnavailable; JobNotFound if the log is gone."""
        if (found := self._shared.get(wire, after)) is not None:
            return found
        number = after // SPAN
        page = self._page(number)
        # Shielded: one watcher's leaving must not cancel the read that others wait for.
        runs = await asyncio.shield(page)
        if runs.newest <= after:
            # It was read before the log had all of it. Of many who notice, the first asks anew.
            if self._pages.get(number) is page:
                del self._pages[number]
            runs = await asyncio.shield(self._page(number))
        if runs.newest <= after:
            raise JobNotFound(f"job {self.job_id}: no event {after + 1} in its log")
        return self._shared.get(wire, after) or self._shared.put(wire, after, runs.batch(wire, after))

    def close(self) -> None:
        """Ends all streams without a terminal event."""
        self.closed = True
        if self._repairing is not None:
            self._repairing.cancel()
        for watcher in list(self.watchers):
            watcher.close()
        for page in self._pages.values():
            page.cancel()

    async def _repair(self) -> None:
        pause = 0.05
        try:
            while self._stale:
                self._stale = False
                ended = self._window.ended
                try:
                    await self._read_on()
                    # An end that has come just now is Redis' own.
                    if ended == self._window.ended and await self._lost(ended):
                        # A Redis that came back without what we know: its watchers would wait for ever.
                        logger.warning("Redis has lost events of job %s; its streams end", self.job_id)
                        self._on_gone(self)
                        return
                except StoreUnavailable as error:
                    logger.debug("feed of %s: %s", self.job_id, error)
                    self._stale = True
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)
        except Exception:
            # A key that a person broke, for example. A feed that stopped here would keep its watchers waiting for ever.
            logger.exception("job %s: its log cannot be read; its streams end", self.job_id)
            self._on_gone(self)
        finally:
            self._repairing = None

    async def _lost(self, ended: bool) -> bool:
        """Whether the job is gone, or goes on although it had `ended`, or has ended before the newest event."""
        [standing] = await self._log.standings([self.job_id])
        if standing is None:
            return True
        if standing.status not in ENDED:
            return ended
        await self._read_on()  # it may have ended since the log was read
        return not self._window.ended

    async def _read_on(self) -> None:
        window = self._window
        while not window.ended:
            before = window.newest
            for event in await self._log.read_merged(self.job_id, before, SPAN):
                # The channel may have said some of it meanwhile.
                if event.after <= window.newest < event.seq and not window.ended:
                    window.add(event.rest(window.newest))
            if window.newest > before:
                self.notice = None
            self._push()
            # Less than asked for: this is the end, or a hole that somebody made by hand.
            if window.newest < before + SPAN:
                return

    def _push(self) -> None:
        """Tells all watchers, some in each turn of the loop: to write to a thousand takes many milliseconds, in which
        neither the first of them nor another job's would hear a word. Who is told late gets what has gathered."""
        if self._telling:
            self._again = True
        else:
            self._telling = list(self.watchers)
            self._tell()

    def _tell(self) -> None:
        telling = self._telling
        for _ in range(min(AT_ONCE, len(telling))):
            telling.pop().push()
        if self._again and not telling:
            self._again = False
            telling.extend(self.watchers)
        if telling:
            asyncio.get_running_loop().call_soon(self._tell)

    def _page(self, number: int) -> asyncio.Task[Runs]:
        page = self._pages.pop(number, None)
        if page is None:
            page = asyncio.create_task(self._read_page(number), name=f"page {number} of {self.job_id}")
            page.add_done_callback(lambda done: self._page_read(number, done))
        self._pages[number] = page  # the newest in use: the oldest one goes first
        return page

    async def _read_page(self, number: int) -> Runs:
        runs = Runs(number * SPAN)
        async with self._reads:
            runs.extend(_unbroken(await self._log.read_merged(self.job_id, runs.after, SPAN), runs.after))
        return runs

    def _page_read(self, number: int, page: asyncio.Task[Runs]) -> None:
        if page.cancelled() or page.exception() is not None:
            if self._pages.get(number) is page:
                del self._pages[number]
            return
        # Another one may have failed in this very turn: it is about to be taken out.
        read = {place: kept for place, kept in self._pages.items() if kept.done() and not kept.cancelled()}
        there = [(place, kept.result().cost) for place, kept in read.items() if kept.exception() is None]
        cost = sum(cost for _, cost in there)
        for place, its in there[:-1]:
            if cost <= self._max_bytes:
                break
            del self._pages[place]
            cost -= its


async def is_lost(log: Log, job_id: str) -> bool:
    """Whether Redis has dropped the job, or events that its record counts: an eviction, or a person."""
    record = await log.record(job_id)
    # In this order: what is appended between the two is in the log.
    newest = await log.newest(job_id, 1)
    return record is None or not newest or newest[-1].seq < record.last_seq


def _unbroken(events: list[Event], position: int) -> Iterator[Event]:
    """The events that follow `position` and one another without a gap."""
    for event in events:
        if event.after != position:
            return
        yield event
        position = event.seq
