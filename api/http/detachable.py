"""A client's connection, which a watcher may take over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Flow(Protocol):
    """Whether the client takes what is written to it."""

    @property
    def write_paused(self) -> bool: ...

    async def drain(self) -> None:
        """Returns when there is room."""
        ...


class DetachableConnection(Protocol):
    """A connection that hands itself to the application, in the scope's extensions. Our own server has it
    (readalong.api.http.uvicorn_inside); on another one, where there is none, a watcher sends through ASGI.

    Whoever takes it writes chunks of the body (RFC 9112, section 7.1) to its transport, and waits with `flow.drain`
    while `flow.write_paused`. The application returns, so that a stream costs no task and no stack of coroutines.
    """

    transport: asyncio.Transport
    #: Bytes that whoever took it has written.
    written: int
    #: Whether a body without a length is sent in chunks. A client of HTTP/1.0 does not know them: its body ends with
    #: the connection.
    chunked: bool

    @property
    def flow(self) -> Flow: ...

    def begin(self) -> None:
        """The head of a response without a length follows."""

    def detach(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over, after a head that says `connection: close`. `on_lost()` is called at its end."""

    def say(self, data: bytes) -> None:
        """Writes a piece of the body."""

    def finish(self) -> None:
        """Ends the body and closes the connection when the client has got all of it."""
