"""Tells streams that ask for it how many read along, over all processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.watcher import Watcher
from readalong.api.wire.format import Format
from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.store.readers import REPORT_EVERY, ReaderStore

logger = logging.getLogger(__name__)

#: Seconds that a coming or a leaving waits for others, to be told with them.
_GATHER: Final = 0.05


class Reader(Watcher):
    """A watcher whose client may be told, between the events, how many read along, and that may not keep its job."""

    __slots__ = ("_frame", "keeps")

    def __init__(
        self,
        feed: Feed,
        wire: Format,
        position: int,
        send_timeout: float,
        on_gone: Callable[[Feed], None],
        *,
        epoch: str,
        keeps: bool,
    ) -> None:
        super().__init__(feed, wire, position, send_timeout, on_gone, epoch=epoch)
        self.keeps = keeps
        #: What the client is to be told; b"": nothing.
        self._frame = b""

    def tell(self, count: int) -> None:
        self._frame = b'event: readers\ndata: {"type":"readers","count":%d}\n\n' % count
        self.push()

    def _push(self) -> None:
        super()._push()
        if not self._frame or self._busy or self._over or self._end:
            return
        if self._line is not None and self._line.flow.write_paused:
            self._background(self._line.flow.drain())
            return
        frame, self._frame = self._frame, b""
        self._write(Batch(frame, self.position, False))


class Readers:
    """One call a second for all such jobs of the process, none for a stream, none while there are none."""

    def __init__(self, process: str, store: ReaderStore) -> None:
        """`process`: a name that no other process has."""
        self._process = process
        self._store = store
        self._of_job: dict[str, set[Reader]] = {}
        #: Jobs whose last stream here has ended, which Redis is to be told.
        self._left: set[str] = set()
        self._told: dict[str, int] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, job_id: str, reader: Reader) -> None:
        self._of_job.setdefault(job_id, set()).add(reader)
        # Also if there are as many as before: this one has not been told.
        self._told.pop(job_id, None)
        self._wake()

    def leave(self, job_id: str, reader: Reader) -> None:
        if reader not in (readers := self._of_job.get(job_id, set())):
            return
        readers.discard(reader)
        if not readers:
            del self._of_job[job_id]
            self._told.pop(job_id, None)
            self._left.add(job_id)
        self._wake()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _wake(self) -> None:
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._report(), name="readers")

    async def _report(self) -> None:
        """Ends when no stream is left, and Redis knows."""
        try:
            while self._of_job or self._left:
                with suppress(TimeoutError):
                    async with asyncio.timeout(REPORT_EVERY):
                        await self._news.wait()
                        await asyncio.sleep(_GATHER)
                self._news.clear()
                try:
                    await self._report_once()
                except (StoreUnavailable, StoreRefused) as error:
                    logger.debug("readers: %s", error)
                    self._left.clear()  # what they said holds for a moment only
        finally:
            self._task = None

    async def _report_once(self) -> None:
        left, self._left = self._left - self._of_job.keys(), set()
        counts = {**dict.fromkeys(left, 0), **{job_id: len(readers) for job_id, readers in self._of_job.items()}}
        found = await self._store.report(self._process, counts)
        for job_id, readers in list(self._of_job.items()):
            count = found.get(job_id)
            if count is not None and self._told.get(job_id) != count:
                self._told[job_id] = count
                for reader in list(readers):
                    reader.tell(count)
