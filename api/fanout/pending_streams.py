"""Streams of browsers that came while Redis was away: they are kept until Redis says what there is to watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from readalong.api.fanout.watcher import begin
from readalong.api.http.detachable import DetachableConnection
from readalong.core.errors import ReadalongError, StoreUnavailable
from readalong.core.sse import HEARTBEAT
from readalong.redis.facade import RedisFacade

logger = logging.getLogger(__name__)

#: What a stream says at once: EventSource takes the answer for good, and comes back after its end.
_FIRST: Final = b"retry: 1000\n: Redis is away\n\n"
#: Seconds between two looks whether Redis answers.
_LOOK_EVERY: Final = 0.5
#: Streams that are opened at the same time.
_AT_ONCE: Final = 64


class OpenStream(Protocol):
    """A stream that has not begun."""

    def go_on(self, line: DetachableConnection) -> None:
        """Takes over a connection whose head is written."""

    def head(self) -> Response:
        """Releases the feed: the client has left, or asks for the head alone."""
        ...


#: Opens the stream; None if nothing follows its position.
Open = Callable[[], Awaitable[OpenStream | None]]


class PendingStreams:
    """One look at Redis for all of a process; none while no stream waits. A waiting stream costs a connection and no
    task."""

    def __init__(self, redis: RedisFacade, heartbeat: float) -> None:
        """`heartbeat`: seconds between two comments."""
        self._redis = redis
        self._heartbeat = heartbeat
        self._waiting: dict[DetachableConnection, Open] = {}
        self._looks: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def stream(self, open_: Open) -> Response:
        """Returns a response that waits until `open_` does not raise StoreUnavailable, and is that stream from then
        on."""
        return _PendingStream(self, open_)

    def add(self, line: DetachableConnection, open_: Open) -> None:
        if self._closed:
            line.finish()
            return
        self._waiting[line] = open_
        if self._looks is None:
            self._looks = asyncio.create_task(self._look(), name="pending streams")

    def remove(self, line: DetachableConnection) -> None:
        self._waiting.pop(line, None)

    async def close(self) -> None:
        """Ends all of them; the clients come back to another process."""
        self._closed = True
        if self._looks is not None:
            self._looks.cancel()
            await asyncio.gather(self._looks, return_exceptions=True)
        for line in list(self._waiting):
            line.finish()
        self._waiting.clear()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        said = loop.time()
        try:
            while self._waiting:
                await asyncio.sleep(_LOOK_EVERY)
                if loop.time() - said >= self._heartbeat:
                    said = loop.time()
                    await self._comment()
                try:
                    await self._redis.command("PING")
                except StoreUnavailable:
                    continue
                waiting = list(self._waiting.items())
                for start in range(0, len(waiting), _AT_ONCE):
                    some = waiting[start : start + _AT_ONCE]
                    await asyncio.gather(*(self._try(line, open_) for line, open_ in some))
        except Exception:
            # Not to be waited for any longer than it takes: the clients come back, and begin another look.
            logger.exception("the look for Redis broke; the streams that wait for it end")
            for line in list(self._waiting):
                line.finish()
        finally:
            self._looks = None

    async def _comment(self) -> None:
        for number, line in enumerate(list(self._waiting), 1):
            if line in self._waiting:
                line.say(HEARTBEAT)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _try(self, line: DetachableConnection, open_: Open) -> None:
        try:
            stream = await open_()
        except StoreUnavailable:
            return
        except ReadalongError:
            # There is no such job, for example: the client comes back and is told.
            stream = None
        if self._waiting.pop(line, None) is None:
            if stream is not None:
                stream.head()  # the client has left
        elif stream is None:
            line.finish()
        else:
            stream.go_on(line)


class _PendingStream(Response):
    def __init__(self, pending: PendingStreams, open_: Open) -> None:
        super().__init__()
        self._pending = pending
        self._open = open_

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = await begin(scope, send, [])
        if line is None:
            # Not our own server: the client has to come back by itself.
            await send({"type": "http.response.body", "body": _FIRST, "more_body": False})
            return
        line.detach(lambda: self._pending.remove(line))
        if not line.transport.is_closing():
            line.say(_FIRST)
            self._pending.add(line, self._open)
