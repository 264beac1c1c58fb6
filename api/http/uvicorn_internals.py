"""Our connection and server, which rest on undocumented parts of uvicorn.

The connection can be detached by a watcher, which saves two thirds of a watcher's memory, and bounds what a client
sends. The server ends open streams first. `_REQUIRED` lists the names that both rest on, and `missing` returns those
that the installed uvicorn lacks. Then `readalong.api.server` uses documented parts of uvicorn only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from http import HTTPStatus
from inspect import isfunction
from typing import Any, Final, cast

import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from readalong.api.http.request_head import HEAD_TOO_LONG, HeadError, check_head
from readalong.api.problems import problem_response
from readalong.process.signals import REPORT, ignore_reports

logger = logging.getLogger(__name__)

#: The option by which a close resets the connection: it lingers for no second (struct linger of socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)
#: Methods and attributes of each class that this module calls, overrides or reads.
_REQUIRED: Final = {
    HttpToolsProtocol: (
        *("connection_made", "connection_lost", "data_received", "shutdown", "send_400_response"),
        *("on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"),
        *("app", "app_state", "connections", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope"),
        *("config", "server_state", "timeout_keep_alive", "timeout_keep_alive_handler"),
        *("timeout_keep_alive_task", "transport", "url"),
    ),
    RequestResponseCycle: ("chunked_encoding", "keep_alive", "more_body", "response_complete", "scope"),
    FlowControl: ("pause_reading", "resume_reading", "drain", "read_paused", "write_paused"),
    uvicorn.Server: ("startup", "shutdown", "lifespan", "server_state", "servers"),
}

#: Idle checks of a client in each send time-out.
_IDLE_CHECKS: Final = 3
#: Bytes that may arrive before the parser completes the next part of a request: its head, spaces included, or the frame
#: of a chunk.
_MAX_PART: Final = 73_728
#: Pipelined requests that wait for an earlier response. With so many, the connection is not read.
_MAX_PIPELINED: Final = 8
#: Bytes that are parsed at once, of heads and of bodies: the parser keeps a kilobyte or two of each request in them.
_HEAD_SLICE: Final = 256
_BODY_SLICE: Final = 4096
#: Connections beyond the limit that get a 503. Further ones are closed at once.
_MAX_REFUSALS: Final = 100
#: Headers that tell where a body ends.
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class _Flow(FlowControl):
    """Stays paused while the connection has unparsed bytes, even if a request asks for its body."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class _Parser(HttpRequestParser):
    """Ignores offers of another protocol, such as Java's and curl's of HTTP/2 (RFC 9110, section 7.8).

    httptools takes the body for that protocol, so this parser gets the body again, behind a plain head.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: DetachableHttpProtocol) -> None:
        super().__init__(connection)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's parser
        self._connection = connection

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        while True:
            try:
                super().feed_data(data)
                return
            except HttpParserUpgrade as error:
                data = self._connection.plain_head() + bytes(data[error.args[0] :])


class DetachableHttpProtocol(HttpToolsProtocol):
    """uvicorn's connection as a `readalong.api.http.detachable.DetachableConnection`, with limits."""

    written = 0
    chunked = True

    #: Set while the connection is detached.
    _on_lost: Callable[[], None] | None = None
    _is_lost = False
    #: The request whose response is under way; uvicorn's `cycle` may be a pipelined request behind it.
    _responding: RequestResponseCycle | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    #: Idle checks in a row without progress of the client.
    _idle_checks = 0
    #: At the last idle check: the bytes that had been sent. And whether the client has sent data since.
    _sent = 0
    _received = False
    #: Bytes that the parser got since it last completed a part. It would keep an endless head, and copy it for each
    #: piece.
    _part_size = 0
    #: The parser gets the body of a request whose head is parsed already.
    _is_resuming_body = False
    #: Bytes that are not parsed yet, from this offset on.
    _pending = b""
    _offset = 0
    _head_error: HeadError | None = None
    #: When the incomplete request began.
    _request_start: float | None = None
    #: Bytes of a body that arrived after the response.
    _discarded = 0
    #: Whether the detached connection serves further requests behind its stream.
    _keeps_alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvicorn's own annotation; uvloop's has no base class
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self.parser = _Parser(self)
        settings = self.app_state["dependencies"].settings
        self._request_timeout, self._max_discarded = settings.request_timeout, settings.max_body_bytes
        limit = settings.max_connections
        if limit and len(self.connections) > limit:
            self.app = _refuse_connection
            if len(self.connections) > limit + _MAX_REFUSALS:
                transport.abort()
        self._idle_interval = settings.send_timeout / _IDLE_CHECKS
        self._idle_timer = self.loop.call_later(self._idle_interval, self._check_idle)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._is_resuming_body:
            self._request_start = self.loop.time()
        extensions: dict[str, Any] = {"readalong.line": self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._part_size = 0
        if self._is_resuming_body:
            self._is_resuming_body = False
        elif (error := check_head(self.url, self.headers, self.parser.get_http_version())) is not None:
            self._head_error = error
            raise ValueError(error.detail)  # uvicorn stops parsing and calls `send_400_response`
        else:
            super().on_headers_complete()
            if not self.pipeline or self.pipeline[0][0] is not self.cycle:
                self._start_response(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._part_size = 0
        if self.cycle.response_complete:
            # A client that sends its whole body before it reads must get the response, but may not send for ever.
            self._discarded += len(body)
            if self._discarded > self._max_discarded:
                self.transport.abort()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part_size = 0
        if not self.parser.should_upgrade():  # its body is still to be parsed
            self._request_start = None
            self._discarded = 0
            super().on_message_complete()

    def on_response_complete(self) -> None:
        next_cycle = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if next_cycle is not None:
            self._start_response(next_cycle)
        if self._flow.is_held and self._on_lost is None:
            self._parse()
            self._flow.resume_reading()

    def begin(self, *, keep_alive: bool = False) -> None:
        """Prepares for the head of a response without a length."""
        if self._responding is not None:
            self._keeps_alive = keep_alive and self.chunked and self._responding.keep_alive
            if not self.chunked:
                self._responding.chunked_encoding = False  # uvicorn would send chunks to an HTTP/1.0 client

    def detach(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over. `on_lost()` is called when the stream has ended, or the connection is lost."""
        if self._is_lost:
            on_lost()
            return
        self._on_lost = on_lost
        # For uvicorn the response is complete. The memory for a further request is released.
        if self._responding is not None:
            self._responding.response_complete = True
        if self.pipeline or self._pending:
            self._keeps_alive = False  # as in `data_received`
        self.pipeline.clear()
        self._pending, self._flow.is_held = b"", False
        released: Any = self  # uvicorn's annotations have no None, which it sets itself
        released.cycle = released.scope = released.headers = released.parser = None
        self._responding = None  # a cycle of references, which only the garbage collector would free
        # Reading may be paused by pipelined data. A paused transport never reports that the client has left.
        self.flow.resume_reading()

    def say(self, data: bytes) -> None:
        """Writes a piece of the body."""
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        self.transport.write(chunk)
        self.written += len(chunk)

    def finish(self) -> None:
        """Ends the body. The connection then serves further requests, or closes when all of the body is sent."""
        if self.chunked:
            self.transport.write(b"0\r\n\r\n")
        if self._keeps_alive and not self.transport.is_closing():
            self._hand_on()
        else:
            self.transport.close()

    def break_off(self) -> None:
        """See `DetachableConnection.break_off`. A body without chunks ends with its connection, so that is reset."""
        if self.chunked:
            self.transport.close()
            return
        connected: socket.socket = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _hand_on(self) -> None:
        """Gives the connection to a new protocol: this one has released what a further request needs."""
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            self.loop.call_soon(on_lost)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.connections.discard(self)
        protocol = type(self)(config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, protocol.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        if self._on_lost is not None:
            # It is not parsed, so the connection closes behind the stream: else its client would wait for a response.
            self._keeps_alive = False
        else:
            self._received = True
            self._pending = self._pending[self._offset :] + data if self._offset < len(self._pending) else data
            self._offset = 0
            self._parse()

    def send_400_response(self, msg: str) -> None:
        status, detail = self._head_error or HeadError(HTTPStatus.BAD_REQUEST, msg)
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            self.transport.write(f"{head}content-length: {len(detail)}\r\nconnection: close\r\n\r\n{detail}".encode())
            self.transport.close()

    def _parse(self) -> None:
        """Parses the pending bytes in slices, until enough pipelined requests wait."""
        has_room = len(self.pipeline) < _MAX_PIPELINED
        while self._offset < len(self._pending) and has_room and not self.transport.is_closing():
            in_body = self._in_body()
            end = self._offset + (_BODY_SLICE if in_body else _HEAD_SLICE)
            data = self._pending[self._offset : end]
            self._offset = end
            self._part_size += len(data)
            super().data_received(data)
            if self._part_size > _MAX_PART:
                self.send_400_response(HEAD_TOO_LONG.detail)
            has_room = len(self.pipeline) < _MAX_PIPELINED
        self._flow.is_held = self._offset < len(self._pending) and not self.transport.is_closing()
        if self._flow.is_held:
            self._flow.pause_reading()
        else:
            self._pending, self._offset = b"", 0

    def _in_body(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        # uvicorn tells only the last request; an earlier one would write to a closed connection.
        if self._responding is not None and not self._responding.response_complete:
            self._responding.disconnected = True
            self._responding.message_event.set()
        self._idle_timer = self._responding = None
        super().connection_lost(exc)
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()

    def shutdown(self) -> None:
        """Stops serving requests. A detached stream is ended by the hub."""
        self._keeps_alive = False
        if self._on_lost is None:
            super().shutdown()

    def plain_head(self) -> bytes:
        """Returns the head of a request with the same framing of the body as the current one."""
        self._is_resuming_body = True
        framing = (b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing)

    def _start_response(self, cycle: RequestResponseCycle) -> None:
        """Notes the request that the application responds to now."""
        self._responding = cycle
        self.chunked = cycle.scope["http_version"] != "1.0"

    def _check_idle(self) -> None:
        """Drops a client that has read nothing of a response, or sent nothing of an incomplete request, for the send
        time-out. A phone without a network and a hanging proxy close no connection."""
        unsent = self.transport.get_write_buffer_size()
        sent = self.written - unsent
        # Any progress counts: a slow client may take hours for the whole response.
        is_idle = sent <= self._sent if unsent else self._is_receiving_request() and not self._received
        self._idle_checks = self._idle_checks + 1 if is_idle else 0
        self._sent, self._received = sent, False
        if self._idle_checks >= _IDLE_CHECKS or self._is_late():
            self.transport.abort()
        else:
            self._idle_timer = self.loop.call_later(self._idle_interval, self._check_idle)

    def _is_receiving_request(self) -> bool:
        if self._on_lost is not None or self.timeout_keep_alive_task is not None:  # uvicorn's own timer ends the latter
            return False
        cycle = self._responding
        return cycle is None or cycle.response_complete or cycle.more_body

    def _is_late(self) -> bool:
        """Returns whether an incomplete request began too long ago. A request that waits unread is not late."""
        if self._on_lost is not None or self._request_start is None or not self._request_timeout or self.pipeline:
            return False
        late: bool = self.loop.time() - self._request_start > self._request_timeout
        return late


async def _refuse_connection(scope: Any, receive: Any, send: Any) -> None:
    """The application of a connection beyond the limit."""
    headers = {"Retry-After": "5", "Connection": "close"}
    detail = "This process has too many connections."
    await problem_response(503, "too_many_connections", detail, retryable=True, headers=headers)(scope, receive, send)


class Server(uvicorn.Server):
    """Ends open streams before uvicorn waits for all responses to end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        # Not the loop's own handler: closing the loop would reset the signal to one that kills.
        signal.signal(REPORT, lambda *_: loop.call_soon_threadsafe(self._report))
        # `shutdown` ends the streams, after it has closed the listener.
        self.lifespan.state["signal_shutdown"].disarm()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            # First: clients whose streams end would reconnect to this very process.
            server.close()
        for connection in list(self.server_state.connections):
            # Otherwise a client would reuse the connection, and get an error at which EventSource gives up.
            connection.shutdown()
        deps = self.lifespan.state.get("dependencies")
        if deps is not None:
            await deps.hub.close()
        await super().shutdown(sockets)
        ignore_reports()

    def _report(self) -> None:
        deps = self.lifespan.state.get("dependencies")
        if deps is not None:
            logger.info("process %d: %d connections, %r", os.getpid(), len(self.server_state.connections), deps.hub)


def missing() -> Iterator[str]:
    """Yields the required names that the installed uvicorn lacks."""
    for kind, names in _REQUIRED.items():
        # A class does not list the attributes of its instances; the code of its methods names them.
        named = {name for each in vars(kind).values() if isfunction(each) for name in each.__code__.co_names}
        yield from (f"{kind.__name__}.{name}" for name in names if not hasattr(kind, name) and name not in named)
