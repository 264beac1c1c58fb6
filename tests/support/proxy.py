"""A TCP proxy that breaks connections as networks do: cut, refused, late, lost on the way, or open and silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Filter = Callable[[bytes], bool]


class Proxy:
    """Forwards to a port of 127.0.0.1; enter it as an async context. Its own port is a free one."""

    def __init__(self, target: int = 0) -> None:
        self.port = 0
        #: The port that it forwards to; may be set at any time, for connections to come.
        self.target = target
        #: New connections are closed at once.
        self.refusing = False
        #: Asked for each piece that the server sends: False loses it. A piece is whole messages if they come apart.
        self.keeps: Filter | None = None
        #: Seconds by which each piece is late, in both directions.
        self.delay = 0.0
        #: Pieces that have come and wait for a stalled connection.
        self.held = 0
        #: Connections made so far.
        self.accepted = 0
        self._stalling = False
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """A Redis URL that goes through the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open_links(self) -> int:
        return len(self._links)

    def cut(self) -> None:
        """Resets every connection; new ones are served."""
        for link in list(self._links):
            link.abort()

    def stall(self) -> None:
        """From now on nothing gets through and nothing is closed, on connections old and new."""
        self._stalling = True
        for link in self._links:
            link.flowing.clear()

    def heal(self) -> None:
        """Serves new connections again; those that were stalled stay half-open for ever, as behind a lost route."""
        self._stalling = False

    def resume(self) -> None:
        """As `heal`, but what was stalled goes on, with all that was sent meanwhile: it was only late."""
        self._stalling = False
        for link in self._links:
            link.flowing.set()

    def cut_stalled(self) -> None:
        """Resets the connections that `heal` left half-open."""
        for link in list(self._links):
            if not link.flowing.is_set():
                link.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.refusing = True  # also of those that the loop has accepted and not yet told us
        self.cut()
        for writer in self._clients:
            writer.transport.abort()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            writer.transport.abort()
            return
        # Not left to the task: one that is cancelled before it begins, or while it connects, closes nothing.
        self._clients.add(writer)
        task = asyncio.create_task(self._serve(reader, writer, stalled=self._stalling))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._clients.discard(writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stalled: bool) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # the server is away: so is what stands behind this connection
            writer.transport.abort()
            return
        link = _Link(writer, there_writer)
        if stalled:
            link.flowing.clear()
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, there_writer, None))
                group.create_task(self._pump(link, there_reader, writer, self._kept))
        finally:
            self._links.discard(link)
            link.abort()

    def _kept(self, piece: bytes) -> bool:
        return self.keeps is None or self.keeps(piece)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeps: Filter | None
    ) -> None:
        with suppress(OSError):  # a reset ends the link as a close does
            while piece := await reader.read(65_536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                self.held += 1
                await link.flowing.wait()
                self.held -= 1
                if not link.aborted and (keeps is None or keeps(piece)):
                    writer.write(piece)
                    await writer.drain()
        link.abort()


class _Link:
    """Both ends of one forwarded connection."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.aborted = False
        self._writers = writers

    def abort(self) -> None:
        self.aborted = True
        self.flowing.set()
        for writer in self._writers:
            writer.transport.abort()
