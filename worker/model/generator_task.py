"""Reads an async generator in its own task, so that its slow or failing cancellation holds up no other task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

logger = logging.getLogger(__name__)

#: Items that may wait before the generator has to wait.
_MAX_WAITING: Final = 64


class GeneratorAborted(Exception):
    """A generator raised an exception that would end more than its task. The argument is the exception's name."""


class GeneratorTask:
    """`take` returns the generator's items, for one caller at a time. `close` ends a generator early."""

    def __init__(self, begin: Callable[[], AsyncGenerator[Any, None]], *, name: str) -> None:
        self._begin = begin
        self._items: list[Any] = []
        self._error: Exception | None = None
        self._closing = False
        self._over = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._read(), name=name)

    async def take(self) -> list[Any]:
        """Waits for the next item, and returns all items that wait; an empty list at the end.

        Raises the generator's exception after its last item.
        """
        await self._filled.wait()
        items, self._items = self._items, []
        if not self._over:
            self._filled.clear()
            self._room.set()
        elif self._error is not None and not items:
            raise self._error
        return items

    def close(self) -> None:
        """Cancels the generator where it waits, or closes it where it has yielded."""
        self._closing = True
        self.task.cancel()

    async def _read(self) -> None:
        try:
            async with aclosing(self._begin()) as generator:
                async for item in generator:
                    if self._closing:
                        break  # the generator has ignored its cancellation
                    self._items.append(item)
                    self._filled.set()
                    if len(self._items) >= _MAX_WAITING:
                        self._room.clear()
                        await self._room.wait()
        except asyncio.CancelledError:
            if not self._closing:
                self._error = GeneratorAborted("CancelledError")
            raise
        except SystemExit:
            self._error = GeneratorAborted("SystemExit")
        except Exception as error:
            if self._closing:
                logger.warning("%s raised when it was closed", self.task.get_name(), exc_info=error)
            self._error = error
        finally:
            self._over = True
            self._filled.set()
