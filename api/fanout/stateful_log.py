"""The bytes of a log in a format with state: encoded in order from the log's start, each event once if it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.encoded_log import LOST, EncodedLog, EventSource
from readalong.api.fanout.frame_page import FramePage
from readalong.api.fanout.log_pages import LogChanged
from readalong.api.wire.format import Format, fresh
from readalong.core.errors import JobNotFound
from readalong.core.events import PAGE_SIZE, Event

#: States at the starts of pages that are kept.
_STATES: Final = 64


class StatefulLog(EncodedLog):
    """One encoder goes with the newest events; its frames, the tail, go to all watchers. For a watcher further back a
    page is encoded from the state at its start. A replay of the log, with the bytes thrown away, leads to that state.

    Keeps the newest frames up to half of `max_bytes`, and a few states. The pages are among those of the source.
    """

    def __init__(self, wire: Format, source: EventSource, max_bytes: int) -> None:
        super().__init__(wire, source)
        self._max_bytes = max_bytes // 2
        #: The newest frames, and the encoder behind them.
        self._tail: tuple[FramePage, Format] | None = None
        #: States by the number of the page that they begin. The state in use last is at the end.
        self._states: dict[int, Format] = {}
        #: Held while a page is encoded: a page needs the state that the page before it leaves.
        self._encoding = asyncio.Lock()

    def clear(self) -> None:
        super().clear()
        self._tail = None
        self._states = {}

    def _newest(self, after: int) -> Batch | None:
        tail = self._follow()
        return None if tail is None or after < tail.after else tail.batch(after)

    def _lost_batch(self) -> Batch | None:
        return self._frames.find(LOST)

    async def _older(self, after: int) -> Batch:
        if after == LOST:
            return await self._told()
        page = await self._source.pages.page(self._encode_page, after)
        return self._frames.find(after) or page.batch(after)

    def _follow(self) -> FramePage | None:
        """Returns the tail, with the newest event in it; None if `_encode_page` has to begin another one."""
        window = self._source.window
        if self._tail is None:
            if window.oldest:
                return None
            # A young job's first token must not wait for a read of the log: all of it is here.
            self._tail = FramePage(0), fresh(self.wire)
        tail, encoder = self._tail
        if behind := window.newest - tail.newest:
            self._tail = None  # also if an event cannot be encoded: the encoder may be halfway
            # More would keep the loop from all others.
            events = window.events(tail.newest) if behind <= PAGE_SIZE else None
            if events is None:
                return None
            tail.extend(encoder, events)
            tail.shrink(self._max_bytes)
            self._tail = tail, encoder
        return tail

    async def _encode_page(self, after: int) -> FramePage:
        """Makes the page of what follows position `after`. Raises LogChanged, and as `history`."""
        number = after // PAGE_SIZE
        start = number * PAGE_SIZE
        async with self._encoding:
            encoder = await self._state(number)
            events = await self._events(start, after)
            page = FramePage(start)
            page.extend(encoder, events)
            if page.newest == start + PAGE_SIZE:
                self._states[number + 1] = encoder
                self._drop_states()
            elif self._tail is None:
                self._tail = page.copy(), encoder
        return page

    async def _told(self) -> Batch:
        """Returns what a watcher at `LOST` is told. Raises LogChanged, and as `history`."""
        async with self._encoding:
            if (found := self._frames.find(LOST)) is not None:
                return found
            event = self._source.lost_event()
            before = event.seq - 1
            number = before // PAGE_SIZE
            encoder = await self._state(number)
            if before > number * PAGE_SIZE:
                for each in await self._events(number * PAGE_SIZE, before - 1):
                    if each.seq > before:
                        break
                    encoder.encode(each)
        if event != self._source.lost_event():
            raise LogChanged
        return Batch(encoder.encode(event), event.seq, False)

    async def _state(self, number: int) -> Format:
        """Returns an encoder at the start of this page. Raises LogChanged, and as `history`."""
        states = self._states
        known = max((each for each in states if each <= number), default=0)
        encoder = fresh(self.wire)
        if known:
            encoder = deepcopy(states[known])
            states[known] = states.pop(known)
        for each in range(known, number):
            last = (each + 1) * PAGE_SIZE
            newest = each * PAGE_SIZE
            for event in await self._events(newest, last - 1):  # to its last event: it may have been read half full
                encoder.encode(event)
                newest = event.seq
            if newest != last:
                raise JobNotFound(f"no event {newest + 1} in the log")
            states[each + 1] = deepcopy(encoder)
            self._drop_states()
            await asyncio.sleep(0)  # a page that is there already is no wait: others would have no turn
            if states is not self._states:
                raise LogChanged
        return encoder

    async def _events(self, start: int, after: int) -> Iterable[Event]:
        """Returns the events from the start of a page on, at least to the event after `after`."""
        page = await self._source.pages.page(self._source.read_page, after)
        return page.events(start)

    def _drop_states(self) -> None:
        if len(self._states) > _STATES:
            del self._states[next(iter(self._states))]
