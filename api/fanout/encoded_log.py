"""The bytes of a feed's log in one format, shared by its watchers."""

from __future__ import annotations

from typing import Final, Protocol

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.frame_cache import FrameCache
from readalong.api.fanout.log_pages import LogChanged, LogPages
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.text_runs import TextRuns
from readalong.api.wire.format import Format
from readalong.core.errors import JobNotFound
from readalong.core.events import Event

#: The position of a watcher whose events Redis has lost.
LOST: Final = -1


class EventSource(Protocol):
    """The events of a log, as a feed has them."""

    job_id: str
    #: The newest events, and pages of older ones.
    window: ReplayBuffer
    pages: LogPages

    async def read_page(self, after: int) -> TextRuns:
        """Returns the page of what follows position `after`. Raises StoreUnavailable, JobNotFound, BrokenJob."""
        ...

    def lost_event(self) -> Event:
        """Returns what a watcher at `LOST` is told, in place of the event that began the present attempt."""
        ...


class EncodedLog:
    """Encodes what follows a position once for all watchers there. This class serves a format without state."""

    def __init__(self, wire: Format, source: EventSource) -> None:
        self.wire = wire
        #: How many watchers get it.
        self.watchers = 0
        self._source = source
        self._frames = FrameCache()

    def batch(self, after: int) -> Batch | None:
        """Returns what follows position `after`: about one write's worth, without bytes if there is nothing new.
        Returns None if only `history` has it. It may lack the newest events, which then follow its position."""
        found = self._frames.get(after)  # for each token of each watcher
        return self._new_batch(after) if found is None else found

    async def history(self, after: int) -> Batch | None:
        """Returns what follows position `after`, from the log; None if that has become another one meanwhile.

        Raises StoreUnavailable, BrokenJob; JobNotFound if the log is gone, or has a hole.
        """
        frames = self._frames
        if (found := frames.find(after)) is not None:
            return found
        try:
            found = await self._older(after)
        except LogChanged:
            return None
        if frames is not self._frames:
            return None
        if found.position <= after:
            raise JobNotFound(f"job {self._source.job_id}: no event {after + 1} in its log")
        return frames.find(after) or frames.put_history(after, found)

    def restarted(self) -> None:
        """Takes note of another attempt: watchers at `LOST` are to be told something else."""
        self._frames.forget(LOST)

    def clear(self) -> None:
        """Takes note that the log has become another one."""
        self._frames = FrameCache()

    def _new_batch(self, after: int) -> Batch | None:
        if after == LOST:
            return self._lost_batch()
        newest = self._source.window.newest
        if after >= newest:
            return Batch(b"", after, False)
        if (found := self._frames.find(after)) is None and (found := self._newest(after)) is not None:
            self._frames.put(after, found, newest)
        return found

    def _newest(self, after: int) -> Batch | None:
        """Returns what follows position `after`; None if that is not in memory."""
        return self._source.window.batch(self.wire, after)

    def _lost_batch(self) -> Batch | None:
        """Returns what a watcher at `LOST` is told; None if `history` has to make it."""
        if (found := self._frames.find(LOST)) is not None:
            return found
        event = self._source.lost_event()
        return self._frames.put_history(LOST, Batch(self.wire.encode(event), event.seq, False))

    async def _older(self, after: int) -> Batch:
        """Returns what follows position `after`, from the log. Raises LogChanged, and as `history`."""
        page = await self._source.pages.page(self._source.read_page, after)
        # Of many watchers that waited for the page, the first encodes.
        return self._frames.find(after) or page.batch(self.wire, after)
