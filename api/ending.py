"""Ends the streams on a server that would wait for their connections first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Final

from readalong.api.fanout.hub import Hub

Handler = Callable[[int, FrameType | None], Any]

#: What servers of ASGI end at.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class EndAtSignal:
    """Ends all streams at the signal that ends the process, and passes the signal on to the server's own handler.

    A server tells an application to stop when the responses are over, and a stream is not over before the application
    ends it. Does nothing where the server sets no handler, and outside the main thread, where Python sets none.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._before: dict[signal.Signals, Handler] = {}
        self._end: asyncio.Task[None] | None = None

    def arm(self) -> None:
        """Takes the signals over from the server, whose handlers are set before its application starts."""
        if current_thread() is not main_thread():
            return
        loop = asyncio.get_running_loop()

        def end() -> None:
            self._end = self._end or loop.create_task(self._hub.close(), name="end of streams")

        for number in _SIGNALS:
            before = signal.getsignal(number)
            if callable(before):
                self._before[number] = before
                # The server's handler last: a second signal may end the process.
                signal.signal(number, _both(lambda: loop.call_soon_threadsafe(end), before))

    def disarm(self) -> None:
        """Gives the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())


def _both(first: Callable[[], object], then: Handler) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        first()
        then(number, frame)

    return handle
