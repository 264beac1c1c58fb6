"""All that a process relays: one Redis subscription, and a feed for each watched job."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.pending_streams import PendingStreams
from readalong.api.fanout.watcher_set import AT_ONCE
from readalong.core.errors import JobNotFound, Stopping
from readalong.core.events import parse_live
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.log import Log

logger = logging.getLogger(__name__)

#: Seconds that a feed waits, at least, for one who has just asked for it to begin to watch.
_FIRST_LINGER: Final = 1.0
#: What the channel of an erased job says: no event will come any more.
_ERASED: Final = b"erased"


class Listener(Protocol):
    """Takes the messages of a channel that is no job's."""

    def take(self, data: bytes) -> None:
        """Takes a message."""

    def end(self) -> None:
        """Messages may be lost, or this process stops: clients come back and begin anew."""


class Hub:
    """No Redis command for each token or watcher: a watched job costs one subscription and one read of its log."""

    def __init__(self, redis: RedisFacade, log: Log, settings: Settings) -> None:
        #: By this name others see that it is subscribed, though it does not get its turns.
        self.name = secrets.token_hex(8)
        self._redis = redis
        self._log = log
        self._keys = settings.keys
        self._linger = settings.feed_linger
        self._max_bytes = settings.replay_buffer_bytes
        self._heartbeat = settings.sse_keepalive
        self._feeds: dict[bytes, Feed] = {}
        self._starting: dict[str, asyncio.Task[Feed]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        #: Those who wait for the feed of a job. It does not end before their turn comes, however late that is.
        self._asking: Counter[str] = Counter()
        self._beats: asyncio.Task[None] | None = None
        self._closed = False
        #: Who else takes the messages of a channel, and hears that some may be lost.
        self._listeners: dict[bytes, Listener] = {}
        #: Called when the first watcher of a job that ends with its watchers comes, and when the last one has left.
        self.on_arrival: Callable[[Feed], None] = _nothing
        self.on_departure: Callable[[Feed], None] = _nothing
        #: Streams that wait for Redis.
        self.pending = PendingStreams(redis, settings.sse_keepalive)
        self._subscriber = redis.subscribe(
            own_channel=settings.keys.heartbeat(self.name),
            heartbeat=settings.hub_heartbeat,
            on_message=self._on_message,
            on_gap=self._on_gap,
        )

    def __repr__(self) -> str:
        watchers = sum(len(feed.watchers) for feed in self._feeds.values())
        return f"<Hub feeds={len(self._feeds)} watchers={watchers} {self._subscriber!r}>"

    @property
    def deaf(self) -> bool:
        """Whether it does not hear what Redis publishes, its own heartbeats for one."""
        return self._subscriber.deaf

    @property
    def stopping(self) -> bool:
        """Whether its streams have been ended since the process stops."""
        return self._closed

    def start(self) -> list[asyncio.Task[Any]]:
        """Returns its tasks, which never end by themselves."""
        self._beats = asyncio.create_task(self._beat(), name="hub comments")
        return [self._beats, *self._subscriber.start()]

    async def feed(self, job_id: str, position: int, epoch: str = "") -> Feed:
        """Returns the feed of a job, ready to be watched from `position`, which is a number of this epoch.

        Raises JobNotFound, UnknownSchema, StoreUnavailable, Stopping.
        """
        if self._closed:
            raise Stopping("This process is stopping.", retry_after=1)
        self._asking[job_id] += 1
        try:
            feed = self._feeds.get(self._channel(job_id))
            if feed is None or job_id in self._starting:
                feed = await self._started(job_id, position)
            await feed.settle(position, epoch)
        finally:
            self._asking[job_id] -= 1
            if not self._asking[job_id]:
                del self._asking[job_id]
            # Who asked for it is about to begin, or gone: without a linger too.
            if (there := self._feeds.get(self._channel(job_id))) is not None:
                self._end_later(there, max(self._linger, _FIRST_LINGER))
        if feed.closed:
            # Before our turn came. It would pass for that of an ended job, and its watcher would never come back.
            if self._closed:
                raise Stopping("This process is stopping.", retry_after=1)
            raise JobNotFound(f"Job {job_id} is erased.")
        return feed

    def arrives(self, feed: Feed) -> None:
        """A watcher is about to come."""
        if feed.cancel_on_disconnect and not feed.watchers.keepers:
            self.on_arrival(feed)

    def release(self, feed: Feed, *, kept: bool = True) -> None:
        """A watcher is gone; a feed without any ends after a short while, so that a reconnection costs nothing. `kept`:
        it was one that keeps a job which ends with its watchers."""
        # A process that stops has sent its clients away: they come to another one, and have not left the job.
        if kept and feed.cancel_on_disconnect and not (feed.watchers.keepers or feed.ended or self._closed):
            self.on_departure(feed)
        self._end_later(feed, self._linger)

    async def listen(self, channel: str, listener: Listener) -> None:
        """Gives the listener the messages of a channel that is no job's, from now on; the last listener counts.

        Returns when Redis has confirmed the channel. Raises StoreUnavailable; the messages come as soon as Redis is
        back.
        """
        self._listeners[channel.encode()] = listener
        await self._subscriber.subscribe(channel)

    def unlisten(self, channel: str) -> None:
        """Ends that."""
        del self._listeners[channel.encode()]
        self._subscriber.unsubscribe(channel)

    def with_watchers(self) -> list[Feed]:
        """Returns the feeds of jobs that end with their last watcher and that have watchers here."""
        return [
            feed
            for feed in self._feeds.values()
            if feed.cancel_on_disconnect and feed.watchers.keepers and not feed.ended
        ]

    def watched(self) -> list[Feed]:
        """Returns the feeds of jobs that have not ended and that have watchers here."""
        return [feed for feed in self._feeds.values() if feed.watchers and not feed.ended]

    async def evict(self, job_id: str) -> None:
        """Ends the streams of an erased job, in all processes. Raises StoreUnavailable, StoreRefused."""
        await self._redis.command("PUBLISH", self._channel(job_id), _ERASED)
        if (feed := self._feeds.get(self._channel(job_id))) is not None:
            self._drop(feed)  # its subscription may not be there yet

    async def close(self) -> None:
        """Ends all streams, without terminal events."""
        self._closed = True
        for listener in list(self._listeners.values()):
            listener.end()
        await self.pending.close()
        for timer in self._timers.values():
            timer.cancel()
        for feed in list(self._feeds.values()):
            feed.close()
        tasks: list[asyncio.Task[Any]] = [*self._starting.values()]
        if self._beats is not None:
            tasks.append(self._beats)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._subscriber.close()

    async def _started(self, job_id: str, position: int) -> Feed:
        starting = self._starting.get(job_id)
        if starting is None:
            starting = self._starting[job_id] = asyncio.create_task(self._open(job_id, position))
            starting.add_done_callback(lambda done: self._opened(job_id, done))
        # Shielded: the first watcher's leaving must not take the feed from those who wait for it too.
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled():
                raise Stopping("This process is stopping.", retry_after=1) from None
            raise

    def _opened(self, job_id: str, done: asyncio.Task[Feed]) -> None:
        self._starting.pop(job_id, None)
        # Each who waits for it hears why there is none; all may have left.
        if not done.cancelled() and done.exception() is None:
            self._end_later(done.result(), max(self._linger, _FIRST_LINGER))

    async def _open(self, job_id: str, position: int) -> Feed:
        channel = self._channel(job_id)
        feed = Feed(job_id, self._log, self._max_bytes, on_gone=self._drop)
        self._feeds[channel] = feed
        # At the same time as the record is read: most jobs that are opened run.
        subscribing = asyncio.create_task(self._subscriber.subscribe(channel.decode()))
        try:
            record = await self._log.record(job_id)
            if record is None:
                raise JobNotFound(f"There is no job {job_id}.")
            feed.cancel_on_disconnect = record.cancel_on_disconnect
            feed.grace = record.disconnect_grace
            if not record.ended:  # else only an erase can come, which need not be waited for
                # First the subscription, then the log: the other way round loses what comes between.
                await subscribing
            await feed.start(position, record.last_seq, record.epochs)
        except BaseException:
            self._drop(feed)
            raise
        finally:
            subscribing.cancel()
            await asyncio.gather(subscribing, return_exceptions=True)
        return feed

    def _end_later(self, feed: Feed, seconds: float) -> None:
        # One that starts is kept for those who ask for it.
        known = self._feeds.get(self._channel(feed.job_id)) is feed and feed.job_id not in self._starting
        if known and not feed.watchers and not self._closed:
            if (timer := self._timers.get(feed.job_id)) is not None:
                timer.cancel()
            loop = asyncio.get_running_loop()
            self._timers[feed.job_id] = loop.call_later(seconds, self._end, feed)

    def _end(self, feed: Feed) -> None:
        self._timers.pop(feed.job_id, None)
        if not (feed.watchers or self._asking[feed.job_id]):
            self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        channel = self._channel(feed.job_id)
        if self._feeds.get(channel) is feed and not self._closed:
            del self._feeds[channel]
            feed.close()
            self._subscriber.unsubscribe(channel.decode())

    def _on_message(self, channel: bytes, data: bytes) -> None:
        feed = self._feeds.get(channel)
        if feed is None:
            if (listener := self._listeners.get(channel)) is not None:
                listener.take(data)
            return
        if data == _ERASED:
            self._drop(feed)
            return
        try:
            feed.take(parse_live(data, feed.epoch))
        except ValueError as error:
            # A person may publish anything on the channel; the log has what was really appended.
            logger.warning("channel of job %s: %s", feed.job_id, error)

    def _on_gap(self) -> None:
        for listener in list(self._listeners.values()):
            listener.end()
        for feed in self._feeds.values():
            feed.repair()

    async def _beat(self) -> None:
        """Has watchers write comments to clients that hear nothing, so that proxies keep their connections."""
        loop = asyncio.get_running_loop()
        every = self._heartbeat / 3
        while True:
            began = loop.time()
            await self._beat_once(every)
            # The turn's own time counts: its watchers would wait for longer than a heartbeat.
            await asyncio.sleep(max(every - (loop.time() - began), 0))

    async def _beat_once(self, seconds: float) -> None:
        """Some watchers in each turn of the loop, as a feed's pushes: comments to ten thousand take 150 ms."""
        # Of its own: names of the endless loop would keep the last feed and watcher alive while it sleeps.
        waiting = [watcher for feed in self._feeds.values() for watcher in feed.watchers]
        while waiting:
            for _ in range(min(AT_ONCE, len(waiting))):
                waiting.pop().beat(seconds, self._heartbeat)
            await asyncio.sleep(0)

    def _channel(self, job_id: str) -> bytes:
        return self._keys.live(job_id).encode()


def _nothing(_: Feed) -> None:
    pass
