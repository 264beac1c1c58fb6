"""Ends the process when one of its background tasks ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Supervisor:
    """Watches tasks that must live as long as the process: without one of them it would serve on, and be deaf.

    The first that ends before it is cancelled is logged with its traceback; then `on_death()` is called, once.
    """

    def __init__(self, on_death: Callable[[], None]) -> None:
        #: The name of the task that has ended; empty while all live.
        self.dead = ""
        self._on_death = on_death

    def watch(self, *tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        # `cancelling` tells an orderly end from a stray CancelledError, such as that of a future it awaited.
        if self.dead or task.cancelling():
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.dead = task.get_name()
        logger.critical("the task %r has ended; so does this process", self.dead, exc_info=error)
        self._on_death()
