"""A client that can stop reading, and that checks events as they arrive: for many clients and for long streams."""

from __future__ import annotations

import asyncio
import resource
import socket
from functools import lru_cache
from typing import Any

import orjson

from tests.api.helpers import Player
from tests.support.client import Entry, Parser
from tests.support.connections import close_after_test, connected_socket

#: File descriptors for a process that has a thousand connections.
_FILES = 4096
#: The start of a Player's log.
_FIRST = {1: "queued", 2: "started"}


def room_for_many() -> None:
    """Raises the limit of file descriptors for this process and its children. macOS starts with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@lru_cache(256)
def padded(after: int, last: int, pad: str) -> str:
    """Returns the text of a Player's events `after` + 1 to `last`, with this pad."""
    return "".join(f"{number} {pad}" for number in range(after + 1, last + 1))


class Listener(asyncio.Protocol):
    """Watches a Player's job over successive connections, and keeps the events of all of them.

    Every event must follow the position: a single event, or text for all numbers up to its own. The first event that
    does not is kept in `fault`, and the connection is dropped.
    """

    def __init__(self, player: Player, pad: str = "") -> None:
        self.position = 0
        self.fault = ""
        #: Whether the terminal event has arrived.
        self.ended = False
        #: Whether the server ended the body properly.
        self.complete = False
        self.connections = 0
        self._path = f"/v1/jobs/{player.job_id}/events"
        self._pad = pad
        self._news = asyncio.Event()
        self._transport: Any = None
        self._rest = bytearray()
        self._parser = Parser()
        self.status = 0
        self.closed = False

    async def open(self, port: int, *, receive_buffer: int = 0) -> None:
        """Connects with its position; returns when the response has begun. `receive_buffer`: bytes, 0 for the
        system's default."""
        sock = await connected_socket(port, receive_buffer)
        self.status = 0
        self.closed = self.complete = False
        self._rest = bytearray()
        self._parser = Parser()
        self.connections += 1
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        head = [f"GET {self._path} HTTP/1.1", "Host: localhost"]
        if self.position:
            head.append(f"Last-Event-ID: {self.position}")
        self._transport.write("\r\n".join([*head, "", ""]).encode())
        await self._until(lambda: self.status != 0 or self.closed)
        assert self.status == 200, f"{self.status} {bytes(self._rest[:200])!r}"

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def read_on(self) -> None:
        """Reads again with a larger buffer: otherwise the waiting data would come a few KB at a time."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._transport.resume_reading()

    def leave(self) -> None:
        """Resets the connection."""
        self._transport.abort()

    async def reach(self, position: int) -> None:
        """Returns when event `position` has arrived."""
        await self._until(lambda: self.position >= position or self.closed)
        assert self.position >= position, f"closed at {self.position}, before {position} {self.fault}"

    async def wait_closed(self) -> None:
        """Returns when the server has closed the connection."""
        await self._until(lambda: self.closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        close_after_test(transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if self.status == 0:
            head, end, rest = bytes(self._rest).partition(b"\r\n\r\n")
            if not end:
                return
            self.status = int(head[9:12])
            self._rest = bytearray(rest)
        if self.status == 200:
            self._read_chunks()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._news.set()

    def _read_chunks(self) -> None:
        start = 0
        while (line := self._rest.find(b"\r\n", start)) >= 0:
            size = int(self._rest[start:line], 16)
            after = line + 2 + size + 2
            if len(self._rest) < after:
                break
            if size == 0:
                self.complete = True
            for entry in self._parser.feed(bytes(self._rest[line + 2 : after - 2])):
                self._take(entry)
            start = after
        del self._rest[:start]

    def _take(self, entry: Entry) -> None:
        number = entry.id or 0
        if entry.event == "content":
            right = self.position >= 2 and number > self.position
            right = right and orjson.loads(entry.data)["content"] == padded(self.position, number, self._pad)
        else:
            right = number == self.position + 1 and (entry.terminal or entry.event == _FIRST.get(number))
        if (not right or self.ended) and not self.fault:
            self.fault = f"after {self.position} came {number}, {entry.event}, {entry.data[:80]}"
            self.leave()
        self.position = number
        self.ended = entry.terminal

    async def _until(self, check: Any) -> None:
        async with asyncio.timeout(200):
            while not check():
                self._news.clear()
                await self._news.wait()


def assert_whole(player: Player, *listeners: Listener) -> None:
    """Asserts that each listener got every event of the ended job once, in order, with the written text."""
    faults = [
        f"listener {place}: {listener.fault or f'at {listener.position} of {player.last}'}"
        for place, listener in enumerate(listeners)
        if listener.fault or not listener.ended or listener.position != player.last
    ]
    assert not faults, "\n".join(faults)
