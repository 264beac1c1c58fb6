"""The floor: one write(2) for each watcher and event, and nothing else."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from bench.contenders.contender import Running
from bench.contenders.poster import Poster
from bench.harness.stack import Stack, accepts
from bench.load.crowd import get

_BATCH: Final = 100
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
_TAKEN: Final = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


def run(port: int) -> int:
    """A GET is a watcher; the body of a POST is written to all watchers.

    There is no queue: a full socket loses the event.
    """
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    selector.register(listener, selectors.EVENT_READ)
    watchers: set[int] = set()
    open_sockets: dict[int, socket.socket] = {}
    asked: dict[int, bytes] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                sock, _ = listener.accept()
                sock.setblocking(False)
                open_sockets[sock.fileno()] = sock
                asked[sock.fileno()] = b""
                selector.register(sock, selectors.EVENT_READ)
                continue
            try:
                data = os.read(key.fd, 1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                selector.unregister(key.fd)
                watchers.discard(key.fd)
                open_sockets.pop(key.fd).close()
                continue
            texts, asked[key.fd] = posts(asked[key.fd] + data)
            if data.startswith(b"GET"):
                os.write(key.fd, _HEAD)
                watchers.add(key.fd)
                asked[key.fd] = b""
            for text in texts:
                frame = b"data: %b\n\n" % text
                for watcher in watchers:
                    with suppress(BlockingIOError, ConnectionError):  # a reader that is full or gone
                        os.write(watcher, frame)
                os.write(key.fd, _TAKEN)


def posts(received: bytes) -> tuple[list[bytes], bytes]:
    """Returns the bodies of all complete POSTs, and the remaining bytes."""
    found = []
    while received.startswith(b"POST"):
        head, blank, rest = received.partition(b"\r\n\r\n")
        if not blank:
            break
        length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            break
        found.append(rest[:length])
        received = rest[length:]
    return found, received


@asynccontextmanager
async def start(stack: Stack) -> AsyncIterator[Running]:
    with stack.child("floor") as port:
        stack.wait("floor", accepts)
        async with Poster.open(port, "/") as poster:
            yield Running(port, lambda: get("/"), {"server": stack.pids["floor"]}, poster.publish, _BATCH)
