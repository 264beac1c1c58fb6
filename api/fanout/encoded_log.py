"""The bytes of a log in a format with state: encoded in order from the log's start, each event once if it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from readalong.api.fanout.log_pages import LogPages
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.text_runs import WRITE, Batch, FrameCache
from readalong.api.wire.format import Format, fresh
from readalong.core.errors import JobNotFound
from readalong.core.events import PAGE_SIZE, Event

#: States at the starts of pages that are kept.
_STATES: Final = 64
#: Bytes of memory that a frame costs besides its bytes.
_OVERHEAD: Final = 48
#: Bytes of batches that are kept for others at the same position.
_SHARED: Final = 524_288


class Stretch:
    """The frames of neighbouring events, one for each number, and the encoder behind them."""

    __slots__ = ("_frames", "after", "cost", "encoder", "ended", "newest")

    def __init__(self, after: int, encoder: Format, frames: Iterable[bytes] = ()) -> None:
        """`encoder` is in the state at position `after`, or behind the `frames` that follow it."""
        self.after = after
        self.encoder = encoder
        self.ended = False
        self._frames = [*frames]
        self.newest = after + len(self._frames)
        self.cost = sum(map(_cost, self._frames))

    def copy(self) -> Stretch:
        found = Stretch(self.after, deepcopy(self.encoder), self._frames)
        found.ended = self.ended
        return found

    def extend(self, events: Iterable[Event]) -> None:
        """Encodes the events that follow, chunk by chunk: how a log is stored must not show in the bytes."""
        for event in events:
            for chunk in event.expand():
                frame = self.encoder.encode(chunk)
                if chunk.terminal:
                    frame += self.encoder.end()
                    self.ended = True
                self._frames.append(frame)
                self.newest += 1
                self.cost += _cost(frame)

    def batch(self, after: int) -> Batch:
        """What follows position `after`, at least `self.after`: about one write's worth."""
        frames: list[bytes] = []
        size, first = 0, after - self.after
        for place in range(first, len(self._frames)):
            size += len(self._frames[place])
            if size > WRITE and frames:
                break
            frames.append(self._frames[place])
        position = after + len(frames)
        return Batch(b"".join(frames), position, self.ended and position == self.newest)

    def shrink(self, cost: int) -> None:
        """Drops the oldest frames if all cost more than this, a quarter at once; the newest stays."""
        if self.cost <= cost:
            return
        drop = 0
        while self.cost > cost * 3 // 4 and drop < len(self._frames) - 1:
            self.cost -= _cost(self._frames[drop])
            drop += 1
        del self._frames[:drop]
        self.after += drop


class EncodedLog:
    """One encoder goes with the newest events; its frames go to all watchers. For a watcher further back a page is
    encoded from the state at its start, which a replay of the log finds out, with the bytes thrown away.

    Keeps frames up to `max_bytes`, half of them the newest, and a few states.
    """

    def __init__(self, wire: Format, log: LogPages, max_bytes: int) -> None:
        self._wire = wire
        self._log = log
        self._max_bytes = max_bytes // 2
        self._tail: Stretch | None = None
        self._live = FrameCache(_SHARED)
        #: Pages and states by the number of their page, the one in use last at the end.
        self._pages: dict[int, Stretch] = {}
        self._states: dict[int, Format] = {}
        self._behind = FrameCache(_SHARED)
        #: Held while a page is encoded: of many watchers that want it the first does the work.
        self._encoding = asyncio.Lock()

    def batch(self, window: ReplayBuffer, after: int) -> Batch | None:
        """What follows position `after`, which is before the newest event of the window; None if `history` has it."""
        tail = self._tail
        if tail is None and window.oldest == 0:
            # The first watcher of a young job: its first token must not wait for a read of the log.
            tail = Stretch(0, fresh(self._wire))
        if tail is None or not self._follow(tail, window) or after < tail.after:
            return None
        return self._live.get(self._wire, after) or self._live.put(self._wire, after, tail.batch(after))

    async def history(self, after: int) -> Batch | None:
        """What follows position `after`; None if the log has become another one. Empty if the log has nothing there.

        Raises StoreUnavailable; JobNotFound for a log with a hole.
        """
        if (found := self._behind.get(self._wire, after)) is not None:
            return found
        async with self._encoding:
            page = await self._page(after)
        if page is None:
            return None
        if page.newest <= after:
            return Batch(b"", after, False)
        return self._behind.get(self._wire, after) or self._behind.put(self._wire, after, page.batch(after))

    async def instead(self, event: Event) -> Batch | None:
        """This event in place of the one with its number. Returns and raises as `history`."""
        before = event.seq - 1
        start = before // PAGE_SIZE * PAGE_SIZE
        async with self._encoding:
            encoder = await self._state(start // PAGE_SIZE)
        if encoder is None:
            return None
        if start < before:
            page = await self._log.page(before - 1)
            if page is None:
                return None
            for each in page.events(start):
                if each.seq > before:
                    break
                encoder.encode(each)
        return Batch(encoder.encode(event), event.seq, False)

    def _follow(self, tail: Stretch, window: ReplayBuffer) -> bool:
        """Encodes what the window has beyond the tail. Returns whether the tail is as far as the window."""
        behind = window.newest - tail.newest
        if not behind:
            return True
        self._tail = None  # also if an event cannot be encoded: the encoder may be halfway
        # More would keep the loop from all others.
        events = window.events(tail.newest) if behind <= PAGE_SIZE else None
        if events is None:
            return False
        tail.extend(events)
        tail.shrink(self._max_bytes)
        self._live.clear()
        self._tail = tail
        return True

    async def _page(self, after: int) -> Stretch | None:
        number = after // PAGE_SIZE
        page = self._pages.pop(number, None)
        if page is None or page.newest <= after:
            if page is None:
                encoder = await self._state(number)
                if encoder is None:
                    return None
                page = Stretch(number * PAGE_SIZE, encoder)
            runs = await self._log.page(after)
            if runs is None:
                return None
            page.extend(runs.events(page.newest))
            if page.newest == (number + 1) * PAGE_SIZE:
                self._keep_state(number + 1, page.encoder)
            elif self._tail is None:
                self._tail = page.copy()
        self._pages[number] = page
        cost = sum(kept.cost for kept in self._pages.values())
        while cost > self._max_bytes and len(self._pages) > 1:
            cost -= self._pages.pop(next(iter(self._pages))).cost
        return page

    async def _state(self, number: int) -> Format | None:
        """An encoder at the start of this page; None if the log has become another one."""
        known = max((each for each in self._states if each <= number), default=0)
        encoder = fresh(self._wire)
        if known:
            encoder = deepcopy(self._states[known])
            self._states[known] = self._states.pop(known)
        for each in range(known, number):
            start, last = each * PAGE_SIZE, (each + 1) * PAGE_SIZE
            page = await self._log.page(last - 1)  # of its last event: it may have been read half full
            if page is None:
                return None
            if page.newest != last:
                raise JobNotFound(f"no event {page.newest + 1} in the log")
            for event in page.events(start):
                encoder.encode(event)
            self._keep_state(each + 1, encoder)
            await asyncio.sleep(0)  # a page that is there already is no wait: others would have no turn
        return encoder

    def _keep_state(self, number: int, encoder: Format) -> None:
        self._states.pop(number, None)
        self._states[number] = deepcopy(encoder)
        if len(self._states) > _STATES:
            del self._states[next(iter(self._states))]


def _cost(frame: bytes) -> int:
    return len(frame) + _OVERHEAD
