"""A TCP proxy that breaks connections as networks do: cut, refused, lost on the way, or open and silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Filter = Callable[[bytes], bool]


class Proxy:
    """Forwards to a port of 127.0.0.1; enter it as an async context. Its own port is a free one."""

    def __init__(self, target: int) -> None:
        self.port = 0
        #: New connections are closed at once.
        self.refusing = False
        #: Asked for each piece that the server sends: False loses it. A piece is whole messages if they come apart.
        self.keeps: Filter | None = None
        #: Asked for each command, by its words, of connections that are made from then on. False: neither that one nor
        #: any that follows it on its connection gets through.
        self.admits: Callable[[list[bytes]], bool] | None = None
        #: Connections made so far.
        self.accepted = 0
        self._target = target
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
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is away: so is what stands behind this connection
            writer.transport.abort()
            return
        link = _Link(writer, there_writer)
        if stalled:
            link.flowing.clear()
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                if self.admits is None:
                    group.create_task(self._pump(link, reader, there_writer, None))
                else:
                    group.create_task(self._pump_commands(link, reader, there_writer))
                group.create_task(self._pump(link, there_reader, writer, self._kept))
        finally:
            self._links.discard(link)
            link.abort()

    def _kept(self, piece: bytes) -> bool:
        return self.keeps is None or self.keeps(piece)

    async def _pump_commands(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rest = b""
        open_ = True
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await link.flowing.wait()
                rest += piece
                while open_ and (command := _command(rest)) is not None:
                    words, size = command
                    open_ = self.admits is None or self.admits(words)
                    if open_:
                        # Each by itself: what came before one that is not admitted is on its way when that is said.
                        writer.write(rest[:size])
                        rest = rest[size:]
                await writer.drain()
        link.abort()

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeps: Filter | None
    ) -> None:
        with suppress(OSError):  # a reset ends the link as a close does
            while piece := await reader.read(65_536):
                await link.flowing.wait()
                if keeps is None or keeps(piece):
                    writer.write(piece)
                    await writer.drain()
        link.abort()


class _Link:
    """Both ends of one forwarded connection."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._writers = writers

    def abort(self) -> None:
        self.flowing.set()
        for writer in self._writers:
            writer.transport.abort()


def _command(buffer: bytes) -> tuple[list[bytes], int] | None:
    """The words of the first command in a buffer, and its length in bytes; None if it has not all come."""
    head, found, rest = buffer.partition(b"\r\n")
    if not found:
        return None
    words = []
    for _ in range(int(head[1:])):
        head, found, rest = rest.partition(b"\r\n")
        length = int(head[1:] or 0)
        if not found or len(rest) < length + 2:
            return None
        words.append(rest[:length])
        rest = rest[length + 2 :]
    return words, len(buffer) - len(rest)
