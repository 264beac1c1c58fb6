"""Pages of a job's older events, made when a watcher wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from readalong.core.events import PAGE_SIZE, Event


class Page(Protocol):
    """What follows a multiple of `PAGE_SIZE`, as events or as bytes."""

    @property
    def newest(self) -> int:
        """The number of its last event; less than a whole page if the log had no more."""
        ...

    @property
    def cost(self) -> int:
        """Bytes of memory, about."""
        ...


P = TypeVar("P", bound=Page)


class LogChanged(Exception):
    """The log has become another one: what was read of it is void."""


class LogPages:
    """Pages of `PAGE_SIZE` events, shared, so that a thousand watchers that come back at once make each page once.

    All pages of a log together, events and bytes, are bounded by `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        #: By what makes it, and its number. The page in use last is at the end.
        self._pages: dict[tuple[Callable[..., Any], int], asyncio.Task[Any]] = {}
        self._clears = 0

    async def page(self, make: Callable[[int], Coroutine[Any, Any, P]], after: int) -> P:
        """Returns the page of what follows position `after`; `make(after)` makes it if it is not kept.

        Raises LogChanged if the pages were cleared meanwhile, and what `make` raises.
        """
        clears = self._clears
        kept = self._page(make, after)
        try:
            # Shielded: one watcher's leaving must not cancel the page that others wait for.
            page: P = await asyncio.shield(kept)
            if page.newest <= after:
                # It was made before the log had all of it. Of many watchers that notice, the first asks anew.
                if self._pages.get((make, after // PAGE_SIZE)) is kept:
                    del self._pages[make, after // PAGE_SIZE]
                page = await asyncio.shield(self._page(make, after))
        except asyncio.CancelledError:
            if clears == self._clears:
                raise
            raise LogChanged from None
        if clears != self._clears:
            raise LogChanged
        return page

    def clear(self) -> None:
        """Forgets all pages, and cancels those that are being made."""
        self._clears += 1
        for page in self._pages.values():
            page.cancel()
        self._pages.clear()

    def _page(self, make: Callable[[int], Coroutine[Any, Any, P]], after: int) -> asyncio.Task[P]:
        key = make, after // PAGE_SIZE
        page = self._pages.pop(key, None)
        if page is None:
            page = asyncio.create_task(make(after), name=f"page {key[1]}")
            page.add_done_callback(lambda done: self._made(key, done))
        self._pages[key] = page
        return page

    def _made(self, key: tuple[Callable[..., Any], int], page: asyncio.Task[Any]) -> None:
        if self._pages.get(key) is page:
            del self._pages[key]
            if not page.cancelled() and page.exception() is None:
                # Behind the pages that it was made from: else it would be the first to go.
                self._pages[key] = page
        # Another one may have failed in this very turn: it is about to be taken out.
        made = {place: kept for place, kept in self._pages.items() if kept.done() and not kept.cancelled()}
        there = [(place, kept.result().cost) for place, kept in made.items() if kept.exception() is None]
        cost = sum(cost for _, cost in there)
        for place, its in there[:-1]:
            if cost <= self._max_bytes:
                break
            del self._pages[place]
            cost -= its


def unbroken(events: list[Event], position: int, newest: int) -> Iterator[Event]:
    """Yields the events that follow `position` and one another without a gap, up to number `newest`: later ones may
    be of another log."""
    for event in events:
        if event.after != position:
            return
        if event.seq > newest:
            yield from (piece for piece in event.expand() if piece.seq <= newest)
            return
        yield event
        position = event.seq
