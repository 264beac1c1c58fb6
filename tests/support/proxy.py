"""A TCP proxy that breaks connections as networks do: reset, refused, late, lost, half-open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Self, TypeVar

Filter = Callable[[bytes], bool]
T = TypeVar("T")

#: Bytes kept from the start of a client's data, to tell connections apart.
_SAID = 262_144


class Proxy:
    """Forwards to a port of 127.0.0.1; an async context manager. Its own port is a free one."""

    def __init__(self, target: int = 0) -> None:
        self.port = 0
        #: The target port; may be set at any time, for new connections.
        self.target = target
        #: Whether new connections are closed at once.
        self.refusing = False
        #: Called for each piece that the server sends; False drops the piece. A piece is whole messages if the server
        #: sends them apart.
        self.keeps: Filter | None = None
        #: Called for each command, by its words, of connections made from then on. False drops that command and all
        #: later ones on its connection.
        self.admits: Callable[[list[bytes]], bool] | None = None
        #: Seconds of delay for each piece, in both directions.
        self.delay = 0.0
        #: Pieces that wait for a stalled connection.
        self.held = 0
        #: The number of connections so far.
        self.accepted = 0
        self._stalling = False
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL of a Redis behind the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """Resets every connection and serves new ones."""
        for connection in list(self._connections):
            connection.abort()

    def stall(self) -> None:
        """Forwards nothing from now on and closes nothing, on old and new connections."""
        self._stalling = True
        for connection in self._connections:
            connection.flowing.clear()

    def freeze(self, chosen: Filter) -> int:
        """Makes open connections half-open for ever and returns their number.

        `chosen` gets the start of a connection's client data and returns True for those to stall.
        """
        connections = [connection for connection in self._connections if chosen(bytes(connection.said))]
        for connection in connections:
            connection.flowing.clear()
        return len(connections)

    def addresses(self, chosen: Filter) -> list[str]:
        """Returns the server's names for the clients of the chosen connections."""
        return [connection.address for connection in self._connections if chosen(bytes(connection.said))]

    def heal(self) -> None:
        """Serves new connections again. Stalled ones stay half-open for ever, as behind a lost route."""
        self._stalling = False
        for connection in self._connections:
            connection.lost = not connection.flowing.is_set()

    def resume(self) -> None:
        """Like `heal`, and stalled connections continue with all data sent meanwhile: the data was only late."""
        self._stalling = False
        for connection in self._connections:
            if not connection.lost:
                connection.flowing.set()

    def mend(self) -> None:
        """Serves as usual; leaves no connection half-open."""
        self.heal()
        self.refusing = False
        self.keeps = None
        self.delay = 0.0
        self.cut_stalled()

    def cut_stalled(self) -> None:
        """Resets the connections that `heal` left half-open."""
        for connection in list(self._connections):
            if not connection.flowing.is_set():
                connection.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.refusing = True  # includes connections that the loop has accepted and not yet reported
        self.cut()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            writer.transport.abort()
            return
        # The task cannot close them: a task that is cancelled before it starts, or while it connects, closes nothing.
        # Stalled pieces must stay for `resume`.
        connection = _Connection(writer)
        if self._stalling:
            connection.flowing.clear()
        self._connections.add(connection)
        task = asyncio.create_task(self._serve(connection, reader, writer))
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._connections.discard(connection)
            connection.abort()

        task.add_done_callback(ended)

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # the server is away: close this connection as well
            return
        connection.join(there_writer)
        async with asyncio.TaskGroup() as group:
            if self.admits is None:
                group.create_task(self._pump(connection, reader, there_writer, None))
            else:
                group.create_task(self._pump_commands(connection, reader, there_writer))
            group.create_task(self._pump(connection, there_reader, writer, self._kept))

    def _kept(self, piece: bytes) -> bool:
        return self.keeps is None or self.keeps(piece)

    async def _pump_commands(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        rest = b""
        open_ = True
        with suppress(OSError):  # a reset ends the connection as a close does
            while piece := await reader.read(65_536):
                await connection.flowing.wait()
                rest += piece
                while open_ and (command := _command(rest)) is not None:
                    words, size = command
                    open_ = self.admits is None or self.admits(words)
                    if open_:
                        # Commands are sent one by one: those before a refused one are already on their way.
                        writer.write(rest[:size])
                        rest = rest[size:]
                await writer.drain()
        connection.abort()

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeps: Filter | None
    ) -> None:
        with suppress(OSError):  # a reset ends the connection as a close does
            while piece := await reader.read(65_536):
                if keeps is None:
                    connection.said += piece[: _SAID - len(connection.said)]
                if self.delay:
                    await asyncio.sleep(self.delay)
                self.held += 1
                await connection.flowing.wait()
                self.held -= 1
                if connection.aborted or writer.transport.is_closing():  # uvloop would raise
                    break
                if keeps is None or keeps(piece):
                    writer.write(piece)
                    await writer.drain()
        await connection.flowing.wait()  # a stalled connection forwards no end either
        connection.abort()


class _Connection:
    """Both ends of one forwarded connection; the client's end alone while the server's is being made."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.said = bytearray()
        self.address = ""
        self.aborted = False
        #: Whether it is half-open for ever.
        self.lost = False
        self._writers = [writer]

    def join(self, writer: asyncio.StreamWriter) -> None:
        """Adds the server's end."""
        self.address = "{}:{}".format(*writer.get_extra_info("sockname"))
        self._writers.append(writer)
        if self.aborted:
            writer.transport.abort()

    def abort(self) -> None:
        self.aborted = True
        self.flowing.set()
        for writer in self._writers:
            writer.transport.abort()


def _command(buffer: bytes) -> tuple[list[bytes], int] | None:
    """Returns the words of the first command in a buffer and its length in bytes; None if it is incomplete."""
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


def is_multiplexed(said: bytes) -> bool:
    """Whether a connection carries a worker's claims and appends."""
    return b"EVALSHA" in said


class Route:
    """A proxy in its own thread, for processes that outlive a test's loop. Leaving the context ends the proxy."""

    def __init__(self, target: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="route", daemon=True)
        self._proxy = Proxy(target)

    def do(self, act: Callable[[Proxy], T]) -> T:
        """Calls a function with the proxy, in the proxy's loop."""

        async def doing() -> T:
            return act(self._proxy)

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(10)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def once(route: Route, chosen: Filter, act: Callable[[Proxy], object], *, keep: bool) -> asyncio.Event:
    """Forwards or drops the server's next piece for which `chosen` is true, and calls `act` at that moment.

    Returns an event that is set when that has happened.
    """
    loop, happened = asyncio.get_running_loop(), asyncio.Event()

    def arm(proxy: Proxy) -> None:
        def keeps(piece: bytes) -> bool:
            if not chosen(piece):
                return True
            proxy.keeps = None
            act(proxy)
            loop.call_soon_threadsafe(happened.set)
            return keep

        proxy.keeps = keeps

    route.do(arm)
    return happened
