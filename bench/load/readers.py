"""A thousand clients in one process that only reads and counts, so that its own cost stays out of the measurement.

Each event carries one `@`, followed by the time of its publish. Every client counts the `@`; a sample of the clients
keeps all bytes, for the delays. Commands are lines of JSON on its port; each gets a line in reply.
"""

from __future__ import annotations

import selectors
import socket
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

import orjson

from bench.load.stamps import STAMP

_BUFFER: Final = 1 << 18


@dataclass(slots=True, eq=False)
class Client:
    """One connection."""

    socket: socket.socket
    request: bytes
    sampled: bool
    wanted: int
    begun: bool = False
    count: int = 0
    seen: list[tuple[int, bytes]] = field(default_factory=list)


class Readers:
    """All clients, and the connection that commands them."""

    def __init__(self, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_BUFFER)
        self._clients: list[Client] = []
        self._unbegun = self._short = 0
        self._waiting = False
        self._deadline = 0.0
        self._broken = ""
        self._asked = b""
        self._started = self._last = 0
        listener = socket.create_server(("127.0.0.1", port))
        self._control, _ = listener.accept()
        self._selector.register(self._control, selectors.EVENT_READ)

    def run(self) -> None:
        """Serves until the commanding connection closes."""
        view = memoryview(self._buffer)
        while True:
            for key, mask in self._selector.select(0.1 if self._waiting else None):
                if key.data is None:
                    if not self._told():
                        return
                    break  # a command may have closed clients that this select has named
                if mask & selectors.EVENT_WRITE:
                    self._ask(key.data)
                else:
                    self._read(key.data, view)
            complete = not (self._unbegun or self._short)
            if self._waiting and (self._broken or complete or time.monotonic() > self._deadline):
                self._waiting = False
                self._answer()

    def _read(self, client: Client, view: memoryview) -> None:
        try:
            size = client.socket.recv_into(view)
        except BlockingIOError:
            return
        except ConnectionError:
            size = 0
        if not size:
            self._selector.unregister(client.socket)
            if not client.begun or client.count < client.wanted:
                self._broken = "the server closed a connection"
            return
        if not client.begun:
            client.begun = True
            self._unbegun -= 1
            if not self._buffer.startswith(b"HTTP/1.1 200"):
                self._broken = f"answered {bytes(view[:200])!r}"
        if client.sampled:
            client.seen.append((time.monotonic_ns(), bytes(view[:size])))
        if count := self._buffer.count(b"@", 0, size):
            short = client.count < client.wanted
            client.count += count
            if short and client.count >= client.wanted:
                self._short -= 1
                self._last = time.monotonic_ns()

    def _ask(self, client: Client) -> None:
        client.socket.send(client.request)
        self._selector.modify(client.socket, selectors.EVENT_READ, client)

    def _told(self) -> bool:
        data = self._control.recv(1 << 20)
        self._asked += data
        *lines, self._asked = self._asked.split(b"\n")
        for line in lines:
            told = orjson.loads(line)
            getattr(self, "do_" + told.pop("do"))(**told)
        return bool(data)

    def _say(self, **answer: Any) -> None:
        self._control.setblocking(True)
        self._control.sendall(orjson.dumps(answer) + b"\n")

    def _answer(self) -> None:
        self._say(
            error=self._broken,
            unbegun=self._unbegun,
            lost=sum(max(0, client.wanted - client.count) for client in self._clients),
            more=sum(max(0, client.count - client.wanted) for client in self._clients),
            seconds=((self._last or time.monotonic_ns()) - self._started) / 1e9,
        )

    def do_open(self, port: int, requests: list[str], expect: list[int], sample: int, within: float) -> None:
        """Connects one client for each request, and waits until each has a response and its expected events."""
        self._started, self._last, self._broken = time.monotonic_ns(), 0, ""
        self._deadline = time.monotonic() + within
        for number, request in enumerate(requests):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            client = Client(sock, request.encode(), number % sample == 0, expect[number])
            self._clients.append(client)
            self._selector.register(sock, selectors.EVENT_WRITE, client)
        self._unbegun = len(requests)
        self._short = sum(1 for wanted in expect if wanted)
        self._waiting = True

    def do_reset(self, expect: int) -> None:
        """Resets the counts and expects `expect` events at each client."""
        for client in self._clients:
            client.count, client.wanted = 0, expect
            client.seen.clear()
        self._started, self._last, self._broken = time.monotonic_ns(), 0, ""
        self._short = len(self._clients) if expect else 0
        self._say(error="")

    def do_wait(self, within: float) -> None:
        """Returns when all expected events have come, or after `within` seconds."""
        self._deadline = time.monotonic() + within
        self._waiting = True

    def do_delays(self) -> None:
        """Returns the milliseconds of each event's way to each client of the sample."""
        self._say(error="", ms=[delay for client in self._clients for delay in delays(client.seen)])

    def do_close(self, keep: int) -> None:
        """Closes all but the first `keep` clients."""
        for client in self._clients[keep:]:
            if client.socket.fileno() in self._selector.get_map():
                self._selector.unregister(client.socket)
            client.socket.close()
        del self._clients[keep:]
        self._say(error="")


def delays(seen: list[tuple[int, bytes]]) -> list[float]:
    """Returns milliseconds from each stamp to the read of its last byte."""
    offsets = list(accumulate(len(piece) for _, piece in seen))
    said = b"".join(piece for _, piece in seen)
    return [(seen[bisect_left(offsets, found.end())][0] - int(found[1])) / 1e6 for found in STAMP.finditer(said)]


def run(port: int) -> int:
    """Serves one commanding connection until it closes; returns the exit code."""
    Readers(port).run()
    return 0
