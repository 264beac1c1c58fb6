"""One client's stream: a position in a feed, and a socket.

The feed calls `push` for all its watchers when there is something new. As long as the socket takes the bytes, a push is
one write to it, with no coroutine and no task switch, and the bytes are the same object for all. Only a watcher
that has to wait gets a task (docs/decisions/0004-pushing-watchers.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from readalong.api.fanout.batch import LARGE, Batch
from readalong.api.fanout.encoded_log import LOST, EncodedLog
from readalong.api.fanout.feed import Feed
from readalong.api.fanout.notice import Notice
from readalong.api.http.detachable import DetachableConnection
from readalong.api.wire.format import Cut, Format
from readalong.core.errors import BrokenJob, JobNotFound, StoreUnavailable
from readalong.core.sse import CONTENT_TYPE, HEARTBEAT
from readalong.store.epochs import Epochs

logger = logging.getLogger(__name__)

HEADERS: Final = [
    (b"content-type", CONTENT_TYPE),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Watcher:
    """Never more than one write under way; what comes meanwhile stays in the feed, or in the log behind it."""

    __slots__ = (
        "_bare",
        "_busy",
        "_cut",
        "_encoded",
        "_end",
        "_epoch",
        "_farewell",
        "_feed",
        "_line",
        "_main",
        "_on_gone",
        "_over",
        "_quiet",
        "_send",
        "_sending",
        "_timeout",
        "_told",
        "_waits",
        "_wire",
        "position",
    )
    #: Whether a job that ends with its watchers goes on while it is there.
    keeps = True

    def __init__(
        self,
        feed: Feed,
        wire: Format,
        position: int,
        send_timeout: float,
        on_gone: Callable[[Feed], None],
        *,
        epoch: str = "",
        cut: Cut | None = None,
        farewell: bytes | None = b"",
    ) -> None:
        """`epoch` is that of the position; "" for a number in whatever log there is. `cut`: what of the frames the
        client gets; None: all. `farewell`: what the client gets if its stream is closed before the end; None: the
        connection breaks off.

        `on_gone(feed)` is called when the client has its end, or is gone without.
        """
        self.position = position
        self._epoch = epoch
        #: Its position, as long as it has seen no log.
        self._bare = LOST if epoch else position
        #: The position after the write that is under way.
        self._sending = LOST
        self._feed = feed
        self._wire = wire
        #: The feed's log in this format, once it watches: looked up once, since equal formats are one key.
        self._encoded: EncodedLog
        self._timeout = send_timeout
        self._on_gone = on_gone
        self._cut = cut
        self._farewell = farewell
        #: Seconds, by the hub's beats, in which nothing was written.
        self._quiet = 0.0
        self._busy = False
        self._end = False
        self._over = False
        #: The feed's last notice that was written.
        self._told: Notice | None = None
        #: The connection itself; None on a server that is not ours, where there are a `send` and a task.
        self._line: DetachableConnection | None = None
        self._send: Send | None = None
        self._main: asyncio.Task[Any] | None = None
        self._waits: asyncio.Task[None] | None = None

    async def run(
        self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]], opening: bytes = b""
    ) -> None:
        """Serves the client until the terminal event is sent, it goes away, or the process stops. On our own server it
        returns at once and the stream goes on without it. `opening`: what comes before the first event."""
        try:
            line = await begin(scope, send, headers)
        except BaseException:
            self._gone()
            raise
        if line is not None:
            self.join(line, opening)
            return
        self._join_feed()
        self._send = send
        self._main = asyncio.current_task()
        try:
            if opening:
                await send({"type": "http.response.body", "body": opening, "more_body": True})
            self.push()
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not self._over:
                raise
        finally:
            self._gone()

    def join(self, line: DetachableConnection, opening: bytes = b"") -> None:
        """Takes over a connection whose head is written."""
        self._join_feed()
        self._line = line
        line.detach(self._gone)
        if opening and not self._over:
            line.say(opening)
        self.push()

    def _join_feed(self) -> None:
        self.position = self._feed.place(self.position, self._epoch)
        self._encoded = self._feed.encoded(self._wire)
        self._wire = self._encoded.wire  # equal formats are one object: each may hold a job's whole input
        self._encoded.watchers += 1
        self._feed.add(self, keeps=self.keeps)

    def push(self) -> None:
        """Writes what is new, unless a write is under way: that one goes on by itself. Raises nothing."""
        try:
            self._push()
        except Exception:
            # An event that a format cannot show must not keep the feed from its other watchers.
            logger.exception("a watcher broke")
            self._give_up()

    def _push(self) -> None:
        feed, line = self._feed, self._line
        while not (self._busy or self._over):
            if self.position >= feed.newest or self._end:
                if self._end and self._farewell is None:
                    self._break_off()
                elif self._end:
                    self._cut = None
                    self._write(Batch(self._farewell or b"", self.position, True))
                elif feed.is_complete_at(self.position):
                    self._write(Batch(b"", self.position, True))
                elif feed.notice is not None and feed.notice is not self._told:
                    self._tell(feed.notice)
                    continue
                return
            if line is not None and line.flow.write_paused:
                # With no batch in hand: a thousand slow ones would keep as many, and when there is room there is more.
                self._background(line.flow.drain())
                return
            batch = self._encoded.batch(self.position)
            if batch is None:
                self._background(self._catch_up())
            elif batch.frames:
                self._write(batch)
            else:  # events that this format does not show
                self.position = batch.position

    def lose(self, seq: int, ahead: Epochs | None = None) -> None:
        """Moves to `LOST` if the client has seen number `seq`, from which on the numbers are another claim's now.
        `ahead`: the epochs of a log that goes on; the client may have a number of it that is not here yet."""
        reached = max(self.position, self._sending)
        waits = ahead is not None and self._epoch and ahead.at(reached) == self._epoch
        if reached >= seq and reached != self._bare and not waits:
            self.position = self._bare = self._sending = LOST

    def _tell(self, notice: Notice) -> None:
        """Writes what is not in the log, once, as soon as there is room for it."""
        if self._line is not None and self._line.flow.write_paused:
            self._background(self._line.flow.drain())
            return
        self._told = notice
        if frames := notice.frames(self._wire):
            self._write(Batch(frames, self.position, False))

    def beat(self, seconds: float, heartbeat: float) -> None:
        """The hub calls it every so many seconds. Writes a comment if nothing was written for a heartbeat."""
        self._quiet += seconds
        if self._quiet >= heartbeat * 0.999 and not (self._busy or self._over):
            self._write(Batch(HEARTBEAT, self.position, False))

    def close(self) -> None:
        """Ends the response without a terminal event: the client comes back to another process."""
        self._end = True
        if self._line is not None and (self._busy or self._line.flow.write_paused):
            self._give_up()
        else:
            self.push()  # or, if a `send` is under way, when that is done

    def _write(self, batch: Batch) -> None:
        if self._line is None:
            self._background(self._write_by_send(batch))
        else:
            self._write_to(self._line, batch)

    def _write_to(self, line: DetachableConnection, batch: Batch) -> None:
        if self._cut is not None:
            batch = self._apply(self._cut, batch)
        frames = batch.frames
        if len(frames) > LARGE:
            self.position = batch.position  # unless it is lost meanwhile
            self._background(self._write_pieces(line, batch))
            return
        if frames:
            data = batch.chunk if line.chunked else frames
            line.transport.write(data)
            line.written += len(data)
        self._wrote(batch)
        if batch.last:
            line.finish()

    def _apply(self, cut: Cut, batch: Batch) -> Batch:
        if not batch.holds(cut.marker):
            return batch
        frames, ends = cut.cut(batch.frames)
        if cut.done:
            self._cut = None
        return batch if frames is batch.frames and not ends else Batch(frames, batch.position, ends or batch.last)

    async def _write_pieces(self, line: DetachableConnection, batch: Batch) -> None:
        """A piece whenever there is room: a client that does not read costs one, and not what its job's end repeats."""
        write = line.transport.write
        for piece in batch.pieces:
            await line.flow.drain()
            # Not joined, which would be a copy for each client.
            head, end = (b"%x\r\n" % len(piece), b"\r\n") if line.chunked else (b"", b"")
            write(head)
            write(piece)
            write(end)
            line.written += len(head) + len(piece) + len(end)
            self._quiet = 0.0
        self._over = batch.last
        if batch.last:
            line.finish()

    def _wrote(self, batch: Batch) -> None:
        self.position = batch.position
        self._over = batch.last
        self._quiet = 0.0

    async def _write_by_send(self, batch: Batch) -> None:
        """Raises TimeoutError if the client takes too long; on our own server the connection sees to it."""
        if self._cut is not None:
            batch = self._apply(self._cut, batch)
        if self._send is not None:
            self._sending = batch.position
            *pieces, end = batch.pieces or (b"",)
            for piece in pieces:
                await self._send_piece(self._send, bytes(piece), more=True)
            await self._send_piece(self._send, bytes(end), more=not batch.last)
            if self._sending != batch.position:  # it is lost
                batch = Batch(b"", self.position, batch.last)
            self._wrote(batch)
            self._sending = LOST

    async def _send_piece(self, send: Send, piece: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._timeout):
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self._waits = task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._waits is task:
            self._waits = None
            self._busy = False
        # A cancelled task waited for a page of a feed that is closed by now, or its client is gone.
        if not task.cancelled() and (error := task.exception()) is not None:
            # The client comes back with its position and finds the rest in the log.
            if not isinstance(error, TimeoutError | StoreUnavailable | JobNotFound | BrokenJob):
                logger.error("a watcher broke", exc_info=error)
            self._give_up()
            return
        self.push()

    async def _catch_up(self) -> None:
        """Writes events that the feed does not keep any more, from the log: one write's worth, for which there is room
        when it is read."""
        position = self.position
        batch = await self._encoded.history(position)
        if batch is None or self._end or self._over or self.position != position:
            return  # the log has become another one, or the stream ends
        if self._line is None:
            await self._write_by_send(batch)
        else:
            self._write_to(self._line, batch)

    def _break_off(self) -> None:
        """Closes the connection without the end of the body."""
        if self._line is None:
            self._give_up()
        else:
            self._over = True
            self._line.break_off()

    def _give_up(self) -> None:
        """Drops the connection at once, whatever is still unsent in its buffer."""
        self._over = True
        if self._line is not None:
            self._line.transport.abort()
        elif self._main is not None:
            self._main.cancel()

    def _gone(self) -> None:
        self._over = True
        if self._waits is not None:
            self._waits.cancel()
        if self._feed.remove(self):
            self._encoded.watchers -= 1
        self._on_gone(self._feed)


async def begin(scope: Scope, send: Send, headers: list[tuple[bytes, bytes]]) -> DetachableConnection | None:
    """Writes the head of a stream, which says that the connection closes unless `headers` say something else of it.
    Returns the connection, to be taken over, if the server is ours."""
    line: DetachableConnection | None = scope.get("extensions", {}).get("readalong.line")
    told = line is None or any(name == b"connection" for name, _ in headers)
    close = [] if told else [(b"connection", b"close")]
    if line is not None:
        line.begin(keep_alive=told)
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers, *close]})
    return line
