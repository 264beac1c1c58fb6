"""Ends the streams when the process is told to end, on a server that waits for open responses first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Final

from readalong.api.fanout.hub import Hub

Handler = Callable[[int, FrameType | None], Any]

#: The signals at which ASGI servers end.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class SignalShutdown:
    """Closes the hub at SIGTERM and SIGINT, then calls the server's own handler.

    An ASGI server stops its application when all responses are over, and a stream is over only when the application
    ends it. Does nothing where the server sets no handler, and outside the main thread, where Python allows none.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._previous: dict[signal.Signals, Handler] = {}
        self._closing: asyncio.Task[None] | None = None

    def arm(self) -> None:
        """Replaces the server's handlers, which servers set before they start the application."""
        if current_thread() is not main_thread():
            return
        loop = asyncio.get_running_loop()

        def close_hub() -> None:
            self._closing = self._closing or loop.create_task(self._hub.close(), name="end of streams")

        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                self._previous[number] = previous
                # The server's handler runs last: a second signal may end the process.
                signal.signal(number, _chain(lambda: loop.call_soon_threadsafe(close_hub), previous))

    def disarm(self) -> None:
        """Restores the server's handlers."""
        while self._previous:
            signal.signal(*self._previous.popitem())


def _chain(first: Callable[[], object], then: Handler) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        first()
        then(number, frame)

    return handle
