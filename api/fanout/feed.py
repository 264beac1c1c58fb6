"""A job's newest events in this process, shared by all its watchers.

The order is: subscribe, then read the log, then take live events. What the channel repeats is skipped by its number;
what it lost shows as a gap and is read from the log.

Redis may lose the newest events, and another claim write others with their numbers. So each read tells which claims
wrote the log, too, and the channel waits for that where in doubt (docs/decisions/0010-positions-with-an-epoch.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import orjson

from readalong.api.fanout.encoded_log import LOST, EncodedLog
from readalong.api.fanout.job_log import JobLog, parting
from readalong.api.fanout.log_pages import LogPages, unbroken
from readalong.api.fanout.lost_jobs import is_lost
from readalong.api.fanout.notice import Notice
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.stateful_log import StatefulLog
from readalong.api.fanout.text_runs import TextRuns
from readalong.api.fanout.watcher_set import FeedWatcher, WatcherSet
from readalong.api.wire.format import Format
from readalong.core.errors import BrokenJob, JobNotFound, StoreUnavailable
from readalong.core.events import PAGE_SIZE, Event
from readalong.core.states import TERMINAL
from readalong.store.epochs import BEGINS, Epochs, named
from readalong.store.job_record import JobState
from readalong.store.log import Log

logger = logging.getLogger(__name__)

#: Events before the newest that a new feed reads, if a watcher wants them.
_REACH: Final = 8 * PAGE_SIZE
#: Messages of the channel that are kept while the log is read.
_HELD: Final = 1024
_PATIENCE: Final = 5.0  # seconds that a watcher waits for Redis to say which log its position is of
#: Pages of the log that are read at the same time.
_READS: Final = 4
#: Formats beyond which a feed keeps only those that its watchers get: a client may choose a format's options.
_FORMATS: Final = 8
#: Events that may name another epoch.
_MARKS: Final = BEGINS | TERMINAL


class Feed:
    """A window of the newest events, and pages of older ones. Both are bounded by `max_bytes`."""

    def __init__(self, job_id: str, log: Log, max_bytes: int, on_gone: Callable[[Feed], None]) -> None:
        """`on_gone(feed)` is called when a repair finds that the job is erased, or that Redis has lost it."""
        self.job_id = job_id
        self.watchers = WatcherSet()
        #: The job is erased, or the process stops: nothing more will come.
        self.closed = False
        #: The job ends with its last watcher.
        self.cancel_on_disconnect = False
        #: Its own grace, in milliseconds, or None.
        self.grace: int | None = None
        #: What watchers are told that have all events of the log.
        self.notice: Notice | None = None
        #: The epoch of the next event, unless that names another.
        self.epoch = ""
        self._log = log
        self._job_log = JobLog(job_id, log)
        self._max_bytes = max_bytes
        self._on_gone = on_gone
        self.window = ReplayBuffer(0, max_bytes)
        self.pages = LogPages(max_bytes)
        self._reads = asyncio.Semaphore(_READS)
        self._encoded: dict[Format, EncodedLog] = {}
        self._epochs = Epochs()
        #: The event that began the present attempt, once it is known.
        self._begun: Event | None = None
        self._repairing: asyncio.Task[None] | None = None
        #: What a repair is to do: make sure of the log; read on in it; read how the attempt began.
        self._unsure = False
        self._stale = False
        self._asked = False
        self._started = False
        #: What the channel says meanwhile.
        self._held: list[list[Event]] = []

    def __repr__(self) -> str:
        window = self.window
        return f"<Feed {self.job_id} {window.oldest}..{window.newest} watchers={len(self.watchers)}>"

    @property
    def ended(self) -> bool:
        """Whether the terminal event is here."""
        return self.window.ended

    @property
    def newest(self) -> int:
        """The number of the newest event known."""
        return self.window.newest

    async def start(self, position: int, last_seq: int, epochs: str = "") -> None:
        """Reads the log from `position` on, or from a little before its last known number. Raises StoreUnavailable,
        JobNotFound if Redis has lost the job since."""
        # The last event is always read: without the terminal one, a watcher at the very end would wait for ever.
        self._begin(Epochs(epochs), max(min(position, last_seq - 1), last_seq - _REACH, 0))
        await self._read_on()
        if self.window.newest < last_seq and await is_lost(self._log, self.job_id):
            raise JobNotFound(f"job {self.job_id} is gone from Redis")
        self._started = True
        if self._unsure:  # not before we begin: a fast job speaks during each read, for ever
            self._doubt()
        self._take_held()

    def add(self, watcher: FeedWatcher, *, keeps: bool = True) -> None:
        """`keeps`: a job that ends with its watchers goes on while it is there."""
        self.watchers.add(watcher, keeps=keeps)

    def remove(self, watcher: FeedWatcher) -> bool:
        """Returns whether the watcher was there."""
        return self.watchers.remove(watcher)

    def place(self, seq: int, epoch: str) -> int:
        """Returns the position of a watcher that has seen number `seq` of this epoch ("": of any): `seq`, or `LOST`."""
        return seq if self._fits(seq, epoch) or self._begun is None else LOST

    async def settle(self, seq: int, epoch: str) -> None:
        """Makes sure of the log if this position does not fit it, before `place` is called: another process may have
        seen more. Raises StoreUnavailable."""
        if self._fits(seq, epoch):
            return
        self._asked = True
        self.repair()
        while (repairing := self._repairing) is not None:
            _, late = await asyncio.wait([repairing], timeout=_PATIENCE)
            if late:
                raise StoreUnavailable("Redis does not say which log this position is of.", retry_after=1)

    def take(self, events: list[Event]) -> None:
        """Takes in the events of a message of the channel."""
        if self._repairing is not None or not self._started:
            if len(self._held) < _HELD:
                self._held.append(events)
            else:
                self._stale = self._unsure = True
            return
        window = self.window
        before = window.newest
        for event in events:
            if event.seq <= window.newest:
                if not window.repeats(event):
                    self._doubt()  # is it another claim's, and has Redis lost what we have seen?
                    break
            elif window.ended:
                break
            elif event.seq > window.newest + 1:
                self.repair()
                break
            else:
                mine = event.epoch == self.epoch and event.type not in _MARKS
                window.add(event if mine else self._next(event))
        if window.newest > before:
            self.notice = None
            self.watchers.push()

    def tell(self, notice: Notice | None) -> None:
        """Tells all watchers, also those that come before the next event. None: there is nothing to tell."""
        self.notice = notice
        if notice is not None:
            self.watchers.push()

    def repair(self) -> None:
        """Reads what the channel may have lost, now or as soon as Redis answers. Messages wait meanwhile."""
        self._held.clear()  # the log has it, or it was said before Redis forgot it
        self._stale = True
        self._doubt()

    def encoded(self, wire: Format) -> EncodedLog:
        """Returns the log in this format. A caller that keeps it counts itself among its watchers."""
        found = self._encoded.get(wire)
        if found is None:
            if len(self._encoded) >= _FORMATS:
                self._drop_unwatched()
            found = StatefulLog(wire, self, self._max_bytes) if wire.stateful else EncodedLog(wire, self)
            self._encoded[wire] = found
        return found

    def all_events(self) -> list[Event] | None:
        """Returns all events so far, text perhaps merged; None if the feed does not keep them any more."""
        return self.window.events(0)

    def is_complete_at(self, position: int) -> bool:
        """Returns whether nothing will ever follow `position`."""
        return self.closed or (self.window.ended and position >= self.window.newest)

    async def read_page(self, after: int) -> TextRuns:
        """Returns the page of what follows position `after`. Raises StoreUnavailable, JobNotFound, BrokenJob."""
        start = after // PAGE_SIZE * PAGE_SIZE
        async with self._reads:
            while True:
                events, state = await self._job_log.read(start)
                if self._parting(state) is None:
                    runs = TextRuns(start, epochs=self._epochs)
                    runs.extend(unbroken(events, start, self.window.newest))
                    return runs
                self.repair()
                if self._repairing is not None:
                    await asyncio.wait([self._repairing])

    def lost_event(self) -> Event:
        """Returns what a watcher at `LOST` is told. It goes on with the present attempt."""
        begun = self._begun or Event(1, "queued", b"{}")
        fields = begun.fields() if begun.type in BEGINS else {"attempt": 0, "worker": None}
        return begun._replace(type="restarted", data=orjson.dumps(fields | {"reason": "log_lost"}))

    def close(self) -> None:
        """Ends all streams without a terminal event."""
        self.closed = True
        if self._repairing is not None:
            self._repairing.cancel()
        for watcher in list(self.watchers):
            watcher.close()
        self.pages.clear()

    def _fits(self, seq: int, epoch: str) -> bool:
        known = self._epochs.at(seq) if seq <= self.window.newest else self._epochs.newest
        return known == epoch or not (known and epoch)

    def _begin(self, epochs: Epochs, after: int) -> None:
        self._epochs = epochs
        self.window = ReplayBuffer(after, self._max_bytes)
        self.epoch = epochs.at(after)

    def _next(self, event: Event) -> Event:
        """Returns the event that follows the newest, with its epoch."""
        if event.type in _MARKS and (name := named(event)) is not None:
            if event.type in BEGINS:
                self._restart_with(event._replace(epoch=name))
            if name != self._epochs.at(event.seq):
                self._epochs.begin(event.seq, name)
                self._lose(event.seq, self._epochs)  # watchers may wait with numbers that are another claim's now
            self.epoch = name
        return event if event.epoch == self.epoch else Event(*event[:4], self.epoch)

    def _drop_unwatched(self) -> None:
        for wire, encoded in list(self._encoded.items()):
            if not encoded.watchers:
                encoded.clear()  # its pages, which `pages` keeps for a while, hold it
                del self._encoded[wire]

    def _doubt(self) -> None:
        self._unsure = True
        if self._repairing is None and self._started and not self.closed:
            self._repairing = asyncio.create_task(self._repair(), name=f"repair {self.job_id}")

    def _take_held(self) -> None:
        held, self._held = self._held, []
        for events in held:
            self.take(events)

    async def _repair(self) -> None:
        pause = 0.05
        try:
            while self._unsure:
                self._unsure = False
                try:
                    await self._mend()
                except (BrokenJob, JobNotFound) as error:
                    # Redis came back without it, its log has a hole, or a person broke it: its watchers would wait.
                    logger.warning("%s; the streams of job %s end", error, self.job_id)
                    self._on_gone(self)
                    return
                except StoreUnavailable as error:
                    logger.debug("feed of %s: %s", self.job_id, error)
                    self._stale = self._unsure = True
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)
        except Exception:
            # A key that a person broke, for example. A feed that stopped here would keep its watchers waiting for ever.
            logger.exception("job %s: its log cannot be read; its streams end", self.job_id)
            self._on_gone(self)
        finally:
            self._repairing = None
        self._take_held()

    async def _mend(self) -> None:
        """Raises StoreUnavailable, JobNotFound."""
        if not self._stale:
            # No more than is needed: to read on would bring what the channel then repeats, and so on for ever.
            self._stale = not await self._make_sure(await self._job_log.state())
        if self._stale:
            self._stale = False
            state = await self._read_on()
            if state.ended and not self.window.ended:
                raise JobNotFound(f"job {self.job_id} has ended, and its log has no end")
        if self._asked and self._begun is None:
            self._restart_with(await self._job_log.beginning(self._epochs, self.window.newest))

    async def _read_on(self) -> JobState:
        """Reads to the log's end. Returns the state of the job. Raises StoreUnavailable, JobNotFound."""
        ended = False
        while True:
            events, state = await self._job_log.read(self.window.newest)
            if not await self._make_sure(state):
                continue
            window = self.window
            before = window.newest
            for event in events:
                if event.after <= window.newest < event.seq and not window.ended:
                    window.add(self._next(event.since(window.newest)))
            if window.newest > before:
                self.notice = None
            self.watchers.push()
            # The last number may be missing: the channel brings what has come just now, or the log has a hole. But
            # a job that ended between the two reads has its end in the log, for one more read.
            if window.ended or window.newest >= state.last_seq or (window.newest == before and ended == state.ended):
                return state
            ended = state.ended

    async def _make_sure(self, state: JobState) -> bool:
        """Returns whether the log is still the one that is known. If not, the feed starts over from what Redis has."""
        lost_from = self._parting(state)
        epochs = Epochs(state.epochs)
        if lost_from is None:
            newest = self.window.newest
            if epochs.newest and self._epochs.after(newest) != epochs.after(newest):
                begun = await self._job_log.beginning(epochs, newest)
                self._epochs.follow(epochs, newest)
                self._restart_with(begun)
                # Watchers with numbers beyond the log may wait for a claim that is lost.
                self._lose(newest + 1, self._epochs)
            return True
        last = state.last_seq
        begun = await self._job_log.beginning(epochs, last)
        logger.warning("Redis has lost events of job %s, from number %d on", self.job_id, lost_from)
        self._begin(epochs, max(min(begun.seq, last - 1), last - _REACH, 0))
        self._restart_with(begun)
        self.pages.clear()
        for encoded in self._encoded.values():
            encoded.clear()
        self._lose(lost_from)
        return False

    def _parting(self, state: JobState) -> int | None:
        return parting(self._epochs, self.window.newest, self.window.ended, state)

    def _lose(self, seq: int, ahead: Epochs | None = None) -> None:
        for watcher in list(self.watchers):
            watcher.lose(seq, ahead)

    def _restart_with(self, begun: Event) -> None:
        self._begun = begun
        for encoded in self._encoded.values():
            encoded.restarted()
