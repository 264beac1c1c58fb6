"""Reads an async generator in a task of its own, so that what it does when it is cancelled holds up nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

logger = logging.getLogger(__name__)

#: What was yielded and not taken yet, before the generator has to wait.
_MOST_WAITING: Final = 64


class Broken(Exception):
    """A generator raised what would end more than its own task. Its argument is the name of that exception."""


class Pump:
    """`take` what the generator has yielded, for one caller at a time. `close` it if it has not ended."""

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
        """Waits for what is yielded next, and returns all that waits; nothing at the end. Raises what the generator
        raised, after what it had yielded before."""
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
                        break  # it has ignored that it was cancelled
                    self._items.append(item)
                    self._filled.set()
                    if len(self._items) >= _MOST_WAITING:
                        self._room.clear()
                        await self._room.wait()
        except asyncio.CancelledError:
            if not self._closing:
                self._error = Broken("CancelledError")
            raise
        except SystemExit:
            self._error = Broken("SystemExit")
        except Exception as error:
            if self._closing:
                logger.warning("%s raised when it was closed", self.task.get_name(), exc_info=error)
            self._error = error
        finally:
            self._over = True
            self._filled.set()
