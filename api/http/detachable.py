"""A client's connection that a watcher may take over from the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Flow(Protocol):
    """Whether the client reads the bytes that are written to it."""

    @property
    def write_paused(self) -> bool: ...

    async def drain(self) -> None:
        """Returns when the write buffer has room."""
        ...


class DetachableConnection(Protocol):
    """A connection that the application finds in the scope's extensions, as `readalong.line`.

    Our own server provides it (readalong.api.http.uvicorn_internals). On another server a watcher sends through ASGI.

    After `detach` the watcher writes chunks of the body (RFC 9112, section 7.1) to the transport, and waits with
    `flow.drain` while `flow.write_paused`. The application returns, so a stream costs no task and no coroutines.
    """

    transport: asyncio.Transport
    #: Bytes that the watcher has written.
    written: int
    #: Whether a body without a length is sent in chunks. HTTP/1.0 has no chunks: there the body ends with the
    #: connection.
    chunked: bool

    @property
    def flow(self) -> Flow: ...

    def begin(self, *, keep_alive: bool = False) -> None:
        """Prepares for the head of a response without a length. `keep_alive`: the head offers further requests."""

    def detach(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over. `on_lost()` is called when the stream has ended, or the connection is lost."""

    def say(self, data: bytes) -> None:
        """Writes a piece of the body."""

    def finish(self) -> None:
        """Ends the body. The connection then serves further requests, or closes when all of the body is sent."""

    def break_off(self) -> None:
        """Closes the connection so that the client does not take what it has for the whole body."""
