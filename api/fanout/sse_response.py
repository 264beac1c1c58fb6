"""A watcher as a response."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.hub import Hub
from readalong.api.fanout.readers import Reader, Readers
from readalong.api.fanout.watcher import HEADERS, Watcher
from readalong.api.http.detachable import DetachableConnection
from readalong.api.wire.format import Cut, Format
from readalong.core.position import LARGEST, Position

#: Milliseconds after which a browser whose stream has ended comes back.
RETRY: Final = 1000
#: For streams whose clients do not miss a last event. Node's fetch takes a body that breaks off after
#: `connection: close` for a whole one, and a text without its end would be an answer.
KEEP_ALIVE: Final = {"connection": "keep-alive"}


class SseResponse(Response):
    """Relays a feed from a position on, in one wire format, until the terminal event or the client's leaving. `epoch`
    is that of the position."""

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: Hub,
        feed: Feed,
        wire: Format,
        position: int,
        *,
        send_timeout: float,
        epoch: str = "",
        joined: Position | None = None,
        headers: dict[str, str] | None = None,
        cut: Cut | None = None,
        opening: bytes = b"",
        farewell: bytes | None = b"",
        readers: Readers | None = None,
        keeps: bool = True,
    ) -> None:
        """`joined` is the position of a client that wants only new events. `cut`: what of the frames the client gets;
        None: all. `opening`: what this client alone gets before all else. `farewell`: what a client gets if this
        process stops; None: its connection breaks off, for a client that takes the body's end for the answer's.
        `readers`: tells this client how many read along. `keeps`: a job that ends with its watchers goes on for it."""
        super().__init__()
        self._extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self._hub = hub
        self._feed = feed
        self._opening = opening + wire.start(joined)
        self._readers = readers
        self._keeps = keeps
        if readers is not None or not keeps:
            gone = self._reader_gone
            self._watcher: Watcher = Reader(feed, wire, position, send_timeout, gone, epoch=epoch, keeps=keeps)
        else:
            self._watcher = Watcher(
                feed, wire, position, send_timeout, hub.release, epoch=epoch, cut=cut, farewell=farewell
            )

    @classmethod
    async def open(
        cls,
        hub: Hub,
        job_id: str,
        wire: Format,
        position: Position | None,
        *,
        send_timeout: float,
        readers: Readers | None = None,
        keeps: bool = True,
    ) -> SseResponse | None:
        """Returns the stream of a job; `position` None: from now on. None if nothing follows the position.

        Raises JobNotFound, UnknownSchema, StoreUnavailable, Stopping.
        """
        feed = await hub.feed(job_id, *(position or Position(LARGEST)))
        joined = Position(feed.newest, feed.epoch) if position is None else None
        start = position or joined or Position(0)
        if feed.is_complete_at(feed.place(*start)):
            hub.release(feed)
            return None
        return cls(
            hub,
            feed,
            wire,
            start.seq,
            epoch=start.epoch,
            send_timeout=send_timeout,
            joined=joined,
            readers=readers,
            keeps=keeps,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._arrive()
        await self._watcher.run(scope, receive, send, self._extra, self._opening)

    def go_on(self, line: DetachableConnection) -> None:
        """Takes over a connection whose head is written."""
        self._arrive()
        self._watcher.join(line, self._opening)

    def _arrive(self) -> None:
        if self._keeps:
            self._hub.arrives(self._feed)
        if self._readers is not None and isinstance(self._watcher, Reader):
            self._readers.join(self._feed.job_id, self._watcher)

    def _reader_gone(self, feed: Feed) -> None:
        if self._readers is not None and isinstance(self._watcher, Reader):
            self._readers.leave(feed.job_id, self._watcher)
        self._hub.release(feed, kept=self._keeps)

    def head(self) -> Response:
        """Returns the answer to HEAD, and releases the feed."""
        self._hub.release(self._feed, kept=self._keeps)
        return StreamHead()


class StreamHead(Response):
    """The head of a stream. As the whole answer, it has the client come back later."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(body)
        self.raw_headers = [*HEADERS]
        if body:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))


def come_back(seconds: float) -> Response:
    """Returns a stream without an event, after whose end EventSource comes back. A 503 it would take for the last
    word."""
    return StreamHead(b"retry: %d\n\n" % int(seconds * 1000))
