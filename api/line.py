"""A client's connection, which a watcher may take over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Line(HttpToolsProtocol):
    """uvicorn's connection; it hands itself to the application, in the scope's extensions.

    Whoever takes it writes chunks of the body (RFC 9112, section 7.1) to its transport, and waits with `flow.drain`
    while `flow.write_paused`. The application returns, so that a stream costs no task and no stack of coroutines.
    """

    _taken: Callable[[], None] | None = None
    _lost = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {"readalong.line": self}
        self.scope["extensions"] = extensions

    def take(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over, after a head that says `connection: close`. `on_lost()` is called at its end."""
        if self._lost:
            on_lost()
            return
        self._taken = on_lost
        # For uvicorn the response is complete; what it needs for another request is not needed any more.
        self.cycle.response_complete = True
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]  # as it does itself

    def finish(self) -> None:
        """Ends the body and closes the connection when the client has got all of it."""
        self.transport.write(b"0\r\n\r\n")
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._taken is None:  # who was told that the connection closes gets no other answer on it
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        super().connection_lost(exc)
        taken, self._taken = self._taken, None
        if taken is not None:
            taken()

    def shutdown(self) -> None:
        """The server stops. The hub ends the streams."""
        if self._taken is None:
            super().shutdown()
