"""The iterators that loops get. One loop reads at a time; to drop one closes what it reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Final, Generic, TypeVar

from readalong.client.errors import MisuseError

T = TypeVar("T")

#: Seconds that a close waits for another thread, which it has told to leave its loop.
_LEAVE_SECONDS: Final = 10.0
_BUSY: Final = "is being read already; a watch of the same job can be read beside it"


class Reader(Iterator[T], Generic[T]):
    """One loop in one thread."""

    def __init__(self, items: Generator[T, None, None], what: str) -> None:
        self._items = items
        self._what = what
        self._lock = threading.Lock()
        self.ended = False

    def __next__(self) -> T:
        if not self._lock.acquire(blocking=False):
            raise MisuseError(f"This {self._what} {_BUSY}.")
        try:
            return next(self._items)
        except BaseException:
            self.ended = True
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Closes what is read. Waits for a thread that reads it."""
        if self._lock.acquire(timeout=_LEAVE_SECONDS):
            try:
                self._items.close()
                self.ended = True
            finally:
                self._lock.release()


class AsyncReader(AsyncIterator[T], Generic[T]):
    """One loop in one task."""

    def __init__(self, items: AsyncGenerator[T, None], what: str) -> None:
        self._items = items
        self._what = what
        self._idle = asyncio.Event()
        self._idle.set()
        self.ended = False

    async def __anext__(self) -> T:
        if not self._idle.is_set():
            raise MisuseError(f"This {self._what} {_BUSY}.")
        self._idle.clear()
        try:
            return await anext(self._items)
        except BaseException:
            self.ended = True
            raise
        finally:
            self._idle.set()

    async def aclose(self) -> None:
        """Closes what is read. Waits for a task that reads it."""
        await self._idle.wait()
        await self._items.aclose()
        self.ended = True
