"""A client's connection, which a watcher may take over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from httptools import HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Looks at a client in each send time-out.
_LOOKS: Final = 3
#: Bytes of a request, besides its body, that may come before the next of its parts is whole: its head, or what frames
#: its chunks.
_LONGEST_HEAD: Final = 65_536
#: Headers that say where a body ends.
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class Line(HttpToolsProtocol):
    """uvicorn's connection; it hands itself to the application, in the scope's extensions.

    Whoever takes it writes chunks of the body (RFC 9112, section 7.1) to its transport, and waits with `flow.drain`
    while `flow.write_paused`. The application returns, so that a stream costs no task and no stack of coroutines.
    """

    #: Bytes that whoever took it has written.
    written = 0
    #: Whether a body without a length is sent in chunks. A client of HTTP/1.0 does not know them: its body ends with
    #: the connection.
    chunked = True

    _taken: Callable[[], None] | None = None
    _lost = False
    #: The request that is being answered; uvicorn's `cycle` may be one that came behind it.
    _answering: RequestResponseCycle | None = None
    _watch: asyncio.TimerHandle | None = None
    #: Looks, one after the other, since which the client has done nothing of what it is waited for.
    _idle = 0
    #: What the last look saw: bytes that had left for the client; and whether it has sent something since.
    _left = 0
    _heard = False
    #: Bytes that have come since the parser last had something whole. It would keep a head that never ends, and copy it
    #: for each piece.
    _unparsed = 0
    #: What is being parsed; and what is to be parsed behind it, the rest of a request whose head is parsed already.
    _data = _rest = b""
    _goes_on = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._every = self.app_state["services"].settings.send_timeout / _LOOKS
        self._watch = self.loop.call_later(self._every, self._look)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {"readalong.line": self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        if self._goes_on:
            self._goes_on = False
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self.parser.should_upgrade():  # its body is still to come
            super().on_message_complete()

    def begin(self) -> None:
        """The head of a response without a length follows."""
        if self._answering is not None and not self.chunked:
            self._answering.chunked_encoding = False  # uvicorn would chunk it, whatever the client speaks

    def take(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over, after a head that says `connection: close`. `on_lost()` is called at its end."""
        if self._lost:
            on_lost()
            return
        self._taken = on_lost
        # For uvicorn the response is complete; what it needs for another request is not needed any more.
        if self._answering is not None:
            self._answering.response_complete = True
        self.pipeline.clear()
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]  # as it does itself
        self._answering = None  # it refers to us: only the garbage collector would find the two
        # It stops reading when much comes behind a request; then we would never hear that the client has gone.
        self.flow.resume_reading()

    def say(self, data: bytes) -> None:
        """Writes a piece of the body."""
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        self.transport.write(chunk)
        self.written += len(chunk)

    def finish(self) -> None:
        """Ends the body and closes the connection when the client has got all of it."""
        if self.chunked:
            self.transport.write(b"0\r\n\r\n")
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._taken is None:  # who was told that the connection closes gets no other answer on it
            self._heard = True
            self._unparsed += len(data)
            while data:
                self._data, self._rest = data, b""
                super().data_received(data)
                data = self._rest
            self._data = b""
            if self._unparsed > _LONGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._answering = None
        super().connection_lost(exc)
        taken, self._taken = self._taken, None
        if taken is not None:
            taken()

    def shutdown(self) -> None:
        """The server stops. The hub ends the streams."""
        if self._taken is None:
            super().shutdown()

    def _unsupported_upgrade_warning(self) -> None:
        """The client would rather speak another protocol, as Java's and curl's do for HTTP/2. It is answered in ours
        (RFC 9110, section 7.8). The parser takes the body for that protocol: it gets it behind a plain head."""
        error = sys.exception()
        assert isinstance(error, HttpParserUpgrade)
        framing = (b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self._rest = b"POST / HTTP/1.1\r\n%b\r\n%b" % (b"".join(framing), self._data[error.args[0] :])
        self._goes_on = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        self.chunked = cycle.scope["http_version"] != "1.0"
        super()._start_asgi_task(cycle, app)

    def _look(self) -> None:
        """Drops a client that for the send time-out has taken nothing of what it was sent, or has sent nothing of a
        request that is not whole. A phone that has vanished, or a proxy that has fallen silent, closes nothing."""
        unsent = self.transport.get_write_buffer_size()
        left = self.written - unsent
        # What counts is that it takes something: a slow client may take hours for all.
        idle = left <= self._left if unsent else self._waits_for_request() and not self._heard
        self._idle = self._idle + 1 if idle else 0
        self._left, self._heard = left, False
        if self._idle >= _LOOKS:
            self.transport.abort()
        else:
            self._watch = self.loop.call_later(self._every, self._look)

    def _waits_for_request(self) -> bool:
        if self._taken is not None or self.timeout_keep_alive_task is not None:  # the latter is uvicorn's to end
            return False
        cycle = self._answering
        return cycle is None or cycle.response_complete or cycle.more_body
