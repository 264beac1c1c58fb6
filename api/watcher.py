"""One client's stream: a position in a feed, and a socket.

The feed calls `push` for all its watchers when there is something new. A push drives the server's `send` by hand: as
long as the socket takes the bytes, that costs no task switch. Only when `send` has to wait does a task wait with it
(docs/decisions/0004-pushing-watchers.md).
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, cast

from starlette.types import Message, Receive, Scope, Send

from api.formats import Format
from api.window import Batch
from readalong.errors import JobNotFound, StoreUnavailable
from readalong.sse import CONTENT_TYPE, HEARTBEAT

if TYPE_CHECKING:
    from api.feed import Feed

logger = logging.getLogger(__name__)

_Send = Callable[[Message], Coroutine[Any, Any, None]]

_HEADERS = [
    (b"content-type", CONTENT_TYPE),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Watcher:
    """Never more than one write under way; what comes meanwhile stays in the feed, or in the log behind it."""

    __slots__ = (
        "_abort",
        "_busy",
        "_end",
        "_feed",
        "_main",
        "_over",
        "_send",
        "_task",
        "_timeout",
        "_wire",
        "_written_at",
        "position",
    )

    def __init__(self, feed: Feed, wire: Format, position: int, send_timeout: float) -> None:
        self.position = position
        self._feed = feed
        self._wire = wire
        self._timeout = send_timeout
        self._written_at = 0.0
        self._busy = False
        self._end = False
        self._over = False
        self._send: _Send
        self._abort: Any = None
        self._main: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        """Serves the client until the terminal event is sent, it goes away, or the process stops."""
        self._send = cast("_Send", send)  # ASGI says awaitable; servers give coroutines
        self._abort = scope.get("extensions", {}).get("readalong.abort")
        self._main = asyncio.current_task()
        self._written_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *headers]})
        self._feed.add(self)
        try:
            self.push()
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not self._over:
                raise
        finally:
            self._over = True
            self._feed.remove(self)
            if self._task is not None:
                self._task.cancel()

    def push(self) -> None:
        """Writes what is new, unless a write is under way: that one goes on by itself. Raises nothing."""
        try:
            self._push()
        except Exception:
            # An event that a format cannot show must not keep the feed from its other watchers.
            logger.exception("a watcher broke")
            self._give_up()

    def _push(self) -> None:
        while not (self._busy or self._over):
            batch = self._feed.batch(self._wire, self.position)
            if batch is None:
                self._background(self._catch_up())
                return
            if batch.position == self.position:
                if self._end or self._feed.over_at(self.position):
                    self._write(Batch(b"", self.position, True))
                return
            if batch.frames:
                self._write(batch)
            else:  # events that this format does not show
                self.position = batch.position

    def beat(self, before: float) -> None:
        """Writes a comment if nothing was written since `before`, by the loop's clock."""
        if not (self._busy or self._over) and self._written_at < before:
            self._write(Batch(HEARTBEAT, self.position, False))

    def close(self) -> None:
        """Ends the response without a terminal event: the client comes back to another process."""
        self._end = True
        if self._busy:
            self._give_up()
        else:
            self.push()

    def _write(self, batch: Batch) -> None:
        message = {"type": "http.response.body", "body": batch.frames, "more_body": not batch.last}
        sending = self._send(message)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            self._wrote(batch)
        except Exception:
            logger.exception("a watcher's send failed")
            self._give_up()
        else:
            self._background(self._finish_write(sending, waits_for, batch))

    def _wrote(self, batch: Batch) -> None:
        self.position = batch.position
        self._over = batch.last
        self._written_at = asyncio.get_running_loop().time()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._busy = False
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # The client comes back with its position and finds what it misses in the log.
            if not isinstance(error, TimeoutError | StoreUnavailable | JobNotFound):
                logger.error("a watcher broke", exc_info=error)
            self._give_up()
            return
        self.push()

    async def _finish_write(self, sending: Coroutine[Any, Any, None], waits_for: Any, batch: Batch) -> None:
        """Waits with a `send` that waits. Raises TimeoutError if the client reads nothing for the send time-out."""
        async with asyncio.timeout(self._timeout):
            await _rest(sending, waits_for)
        self._wrote(batch)

    async def _catch_up(self) -> None:
        """Writes events that the feed does not keep any more, from the log."""
        while (batch := self._feed.batch(self._wire, self.position)) is None and not self._end:
            batch = await self._feed.history(self._wire, self.position)
            message = {"type": "http.response.body", "body": batch.frames, "more_body": not batch.last}
            async with asyncio.timeout(self._timeout):
                await self._send(message)
            self._wrote(batch)

    def _give_up(self) -> None:
        """Drops the connection at once, whatever is still unsent in its buffer."""
        self._over = True
        if self._abort is not None:
            self._abort()
        elif self._main is not None:
            self._main.cancel()


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, None, None]:
    """Goes on with a coroutine that was begun by hand and waits for something."""
    while True:
        yield waits_for
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return
