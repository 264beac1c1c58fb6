"""Client connections of tests: each closes, at the latest, with the test that opened it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_opened: ContextVar[list[asyncio.BaseTransport] | None] = ContextVar("_opened", default=None)


@asynccontextmanager
async def closing_connections() -> AsyncIterator[None]:
    """Resets the connections of the block when it ends.

    The socket of an open one would be found by the garbage collector, in the middle of a later test.
    """
    opened: list[asyncio.BaseTransport] = []
    token = _opened.set(opened)
    try:
        yield
    finally:
        _opened.reset(token)
        for transport in opened:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.abort()
        await asyncio.sleep(0)  # a reset transport closes its socket in this turn


def close_after_test(transport: asyncio.BaseTransport) -> None:
    """Leaves this connection to `closing_connections`. Does nothing outside of a test's loop."""
    if (opened := _opened.get()) is not None:
        opened.append(transport)


def tcp_socket() -> socket.socket:
    """Returns a socket of protocol TCP: for others asyncio leaves Nagle's algorithm on, and every second write waits
    40 ms."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


async def connected_socket(port: int, receive_buffer: int) -> socket.socket:
    """Returns a socket connected to a port of 127.0.0.1. `receive_buffer`: bytes, 0 for the system's default."""
    sock = tcp_socket()
    try:
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


async def open_connection(port: int, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects to a port of 127.0.0.1. The connection closes with the test."""
    sock = await connected_socket(port, receive_buffer)
    reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 65_536)
    close_after_test(writer.transport)
    return reader, writer
