"""Pages of a job's older events, read from the log when a watcher wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from readalong.api.fanout.text_runs import Batch, FrameCache, TextRuns
from readalong.api.wire.format import Format
from readalong.core.events import PAGE_SIZE, Event

#: Pages of one log that are read at the same time.
_READS: Final = 4
#: Bytes of batches that are kept for others at the same position.
_SHARED: Final = 524_288


class LogPages:
    """Pages of `PAGE_SIZE` events, shared, so that a thousand watchers that come back at once read each page once.

    Bounded by `max_bytes`.
    """

    def __init__(self, read: Callable[[int], Awaitable[TextRuns]], max_bytes: int) -> None:
        """`read(position)` reads the page that follows a multiple of `PAGE_SIZE`."""
        self._read = read
        self._max_bytes = max_bytes
        self._pages: dict[int, asyncio.Task[TextRuns]] = {}
        self._reads = asyncio.Semaphore(_READS)
        self._shared = FrameCache(_SHARED)
        self._clears = 0

    async def batch(self, wire: Format, after: int) -> Batch | None:
        """What follows position `after`; None if the pages were cleared meanwhile. Empty if the log has nothing there.

        Raises what `read` raises.
        """
        if (found := self._shared.get(wire, after)) is not None:
            return found
        runs = await self.page(after)
        if runs is None:
            return None
        if runs.newest <= after:
            return Batch(b"", after, False)
        return self._shared.get(wire, after) or self._shared.put(wire, after, runs.batch(wire, after))

    async def page(self, after: int) -> TextRuns | None:
        """The page of what follows position `after`; None if the pages were cleared meanwhile. Raises as `batch`."""
        clears = self._clears
        number = after // PAGE_SIZE
        page = self._page(number)
        try:
            # Shielded: one watcher's leaving must not cancel the read that others wait for.
            runs = await asyncio.shield(page)
            if runs.newest <= after:
                # It was read before the log had all of it. Of many who notice, the first asks anew.
                if self._pages.get(number) is page:
                    del self._pages[number]
                runs = await asyncio.shield(self._page(number))
        except asyncio.CancelledError:
            if clears == self._clears:
                raise
            return None
        return runs if clears == self._clears else None

    def clear(self) -> None:
        """Forgets all pages, also those that are being read."""
        self._clears += 1
        self._shared = FrameCache(_SHARED)  # without what is large too: it is of another log by now
        for page in self._pages.values():
            page.cancel()
        self._pages.clear()

    def _page(self, number: int) -> asyncio.Task[TextRuns]:
        page = self._pages.pop(number, None)
        if page is None:
            page = asyncio.create_task(self._read_one(number), name=f"page {number}")
            page.add_done_callback(lambda done: self._page_read(number, done))
        self._pages[number] = page  # the newest in use: the oldest one goes first
        return page

    async def _read_one(self, number: int) -> TextRuns:
        async with self._reads:
            return await self._read(number * PAGE_SIZE)

    def _page_read(self, number: int, page: asyncio.Task[TextRuns]) -> None:
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


def unbroken(events: list[Event], position: int, newest: int) -> Iterator[Event]:
    """The events that follow `position` and one another without a gap, up to number `newest`: later ones may
    be of another log."""
    for event in events:
        if event.after != position:
            return
        if event.seq > newest:
            yield from (piece for piece in event.expand() if piece.seq <= newest)
            return
        yield event
        position = event.seq
