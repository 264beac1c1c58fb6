"""Ends the process when one of its background tasks ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Supervisor:
    """Watches tasks that must live as long as the process: without one, the process would serve watchers no events.

    The first task that ends without being cancelled is logged with its traceback. Then `on_death()` is called, once.
    """

    def __init__(self, on_death: Callable[[], None]) -> None:
        #: The name of the task that has ended; empty while all run.
        self.dead_task = ""
        self._on_death = on_death

    def watch(self, *tasks: asyncio.Task[Any]) -> None:
        """Watches these tasks too."""
        for task in tasks:
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        # `cancelling` tells an orderly end from a stray CancelledError, such as that of an awaited future.
        if self.dead_task or task.cancelling():
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.dead_task = task.get_name()
        logger.critical("background task %r ended; stopping this process", self.dead_task, exc_info=error)
        self._on_death()
