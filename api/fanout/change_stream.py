"""A client's stream of changes, as a response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from readalong.api.fanout.changes import Changes
from readalong.api.fanout.watcher import begin
from readalong.api.http.detachable import DetachableConnection
from readalong.core.sse import HEARTBEAT
from readalong.core.states import Status
from readalong.store.job_record import Record

#: Bytes that wait for a client that reads slowly, beyond which it begins anew.
_MOST_BYTES: Final = 4_194_304
#: What a stream says at once, so that EventSource comes back soon after its end.
_FIRST: Final = b"retry: 1000\n\n"


class ChangeStream(Response):
    """Never more than the newest frame of a job waits for the client: one that reads slowly sees fewer states."""

    media_type = "text/event-stream"

    def __init__(
        self,
        changes: Changes,
        shows: Callable[[Record, frozenset[Status]], bool],
        *,
        operates: bool,
        root_path: str,
        send_timeout: float,
        keepalive: float,
    ) -> None:
        """`shows(job, left)`: whether the client is told of a job that is in a state and has left these others."""
        super().__init__()
        self.operates = operates
        self._changes = changes
        self._shows = shows
        self._root_path = root_path
        self._send_timeout = send_timeout
        self._keepalive = keepalive
        #: Frames that wait, by job; the status is under "".
        self._frames: dict[str, bytes] = {}
        self._size = 0
        self._over = False
        self._lost = False
        self._news = asyncio.Event()

    def change(self, record: Record, left: frozenset[Status], encode: Callable[[str], bytes]) -> None:
        if self._shows(record, left):
            self._put(record.id, b"event: job\ndata: %b\n\n" % encode(self._root_path))

    def erased(self, record: Record) -> None:
        if self._shows(record, frozenset(Status)):
            self._put(record.id, b'event: erased\ndata: {"type":"erased","id":"%b"}\n\n' % record.id.encode())

    def status(self, body: bytes) -> None:
        self._put("", b"event: status\ndata: %b\n\n" % body)

    def end(self) -> None:
        self._over = True
        self._news.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # First: a client that has the head may load its list, and misses nothing.
            await self._changes.join(self)
            line = await begin(scope, send, [])
            if line is None:
                await self._serve_by_send(receive, send)
            else:
                await self._serve(line)
        except TimeoutError:
            return  # it reads nothing; the server closes the connection
        finally:
            self._changes.leave(self)

    async def _serve(self, line: DetachableConnection) -> None:
        """Raises TimeoutError if the client takes too long."""
        line.detach(self._lose)
        line.say(_FIRST)
        while not self._over:
            if frames := await self._next():
                line.say(frames)
            async with asyncio.timeout(self._send_timeout):
                await line.flow.drain()
        if not self._lost:
            line.finish()

    async def _serve_by_send(self, receive: Receive, send: Send) -> None:
        """The same on a server that is not ours."""
        leaving = asyncio.create_task(self._wait_for_leaving(receive), name="changes: client")
        try:
            await self._send(send, _FIRST)
            while not self._over:
                await self._send(send, await self._next())
            await self._send(send, b"", more=False)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _next(self) -> bytes:
        """Returns the frames that wait, or a comment if none came for long; b"" when the stream is over."""
        if not self._frames and not self._over:
            self._news.clear()
            try:
                async with asyncio.timeout(self._keepalive):
                    await self._news.wait()
            except TimeoutError:
                return HEARTBEAT
        frames, self._frames, self._size = self._frames, {}, 0
        return b"".join(frames.values())

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Raises TimeoutError if the client takes too long."""
        if body or not more:
            async with asyncio.timeout(self._send_timeout):
                await send({"type": "http.response.body", "body": body, "more_body": more})

    def _lose(self) -> None:
        """The connection is lost."""
        self._lost = True
        self.end()

    async def _wait_for_leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    def _put(self, name: str, frame: bytes) -> None:
        if self._over:
            return
        # To the end: the newest state of a job follows what was told of others before it.
        self._size += len(frame) - len(self._frames.pop(name, b""))
        self._frames[name] = frame
        if self._size > _MOST_BYTES:
            self._frames.clear()
            self.end()
        self._news.set()
