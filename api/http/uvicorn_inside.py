"""The inside of uvicorn: what we use of it that its documentation does not promise.

Its connection hands itself to a watcher, which saves two thirds of a watcher's memory, and bounds what a client sends.
Its server ends open streams first. `_USED` has the names that they rest on, and `missing` finds out whether uvicorn
still has them. Where it has not, `readalong.api.server` serves by what uvicorn documents.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from array import array
from collections.abc import Callable, Iterator
from http import HTTPStatus
from inspect import isfunction
from typing import Any, Final

import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from readalong.api.http.request_head import TOO_LONG, Fault, fault_of
from readalong.api.problems import respond
from readalong.process.signals import REPORT, ignore_reports

logger = logging.getLogger(__name__)

#: What is used of each class: methods that are called or replaced, and attributes.
_USED: Final = {
    HttpToolsProtocol: (
        *("connection_made", "connection_lost", "data_received", "shutdown", "send_400_response"),
        *("on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"),
        *("app", "app_state", "connections", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope"),
        *("timeout_keep_alive_task", "transport", "url"),
    ),
    RequestResponseCycle: ("chunked_encoding", "more_body", "response_complete", "scope"),
    FlowControl: ("pause_reading", "resume_reading", "drain", "read_paused", "write_paused"),
    uvicorn.Server: ("startup", "shutdown", "lifespan", "server_state", "servers"),
}

#: Looks at a client in each send time-out.
_LOOKS: Final = 3
#: Bytes of a request, besides its body, that may come before the next of its parts is whole: its head, blanks included,
#: or what frames its chunks.
_LONGEST_PART: Final = 73_728
#: Requests that wait for the answer to the one before them. While so many do, the connection is not read.
_WAITING: Final = 8
#: Bytes that are parsed at once, of heads and of bodies: all requests in them are kept, each with a kilobyte or two.
_PIECE: Final = 256
_PIECE_OF_BODY: Final = 4096
#: Connections beyond the limit that are told so; those beyond these are closed at once.
_TOLD: Final = 100
#: Headers that say where a body ends.
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class _Flow(FlowControl):
    """Does not read on while the line has more than it may parse, whatever a request that waits for a body wishes."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class _Parser(HttpRequestParser):
    """Answers a client that would rather speak another protocol, as Java's and curl's do for HTTP/2, in ours (RFC 9110,
    section 7.8). httptools takes the body for that protocol: it gets the body behind a plain head."""

    __slots__ = ("_line",)

    def __init__(self, line: DetachableHttpProtocol) -> None:
        super().__init__(line)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does with its own
        self._line = line

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        while True:
            try:
                super().feed_data(data)
                return
            except HttpParserUpgrade as error:
                data = self._line.plain_head() + bytes(data[error.args[0] :])


class DetachableHttpProtocol(HttpToolsProtocol):
    """uvicorn's connection as an `readalong.api.http.detachable.DetachableConnection`."""

    written = 0
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
    #: The body follows of a request whose head is parsed already.
    _goes_on = False
    #: What has come and is not parsed, from this place on.
    _came = b""
    _at = 0
    #: What is wrong with the head; when the request began that is not whole.
    _fault: Fault | None = None
    _begun: float | None = None
    #: Bytes of a body that came after its answer.
    _unwanted = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self.parser = _Parser(self)
        settings = self.app_state["services"].settings
        self._within, self._most_unwanted = settings.request_timeout, settings.max_body_bytes
        most = settings.max_connections
        if most and len(self.connections) > most:
            self.app = _crowded
            if len(self.connections) > most + _TOLD:
                transport.abort()
        self._every = settings.send_timeout / _LOOKS
        self._watch = self.loop.call_later(self._every, self._look)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._goes_on:
            self._begun = self.loop.time()
        extensions: dict[str, Any] = {"readalong.line": self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        if self._goes_on:
            self._goes_on = False
        elif (fault := fault_of(self.url, self.headers, self.parser.get_http_version())) is not None:
            self._fault = fault
            raise ValueError(fault.why)  # ends the parsing: uvicorn sends what `send_400_response` makes of it
        else:
            super().on_headers_complete()
            if not self.pipeline or self.pipeline[0][0] is not self.cycle:
                self._answers(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if self.cycle.response_complete:
            # Who sends all before it reads must hear the answer; but not send for ever.
            self._unwanted += len(body)
            if self._unwanted > self._most_unwanted:
                self.transport.abort()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self.parser.should_upgrade():  # its body is still to come
            self._begun = None
            self._unwanted = 0
            super().on_message_complete()

    def on_response_complete(self) -> None:
        follows = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if follows is not None:
            self._answers(follows)
        if self._flow.held and self._taken is None:
            self._parse()
            self._flow.resume_reading()

    def begin(self) -> None:
        """The head of a response without a length follows."""
        if self._answering is not None and not self.chunked:
            self._answering.chunked_encoding = False  # uvicorn would chunk it, whatever the client speaks

    def detach(self, on_lost: Callable[[], None]) -> None:
        """Takes the connection over, after a head that says `connection: close`. `on_lost()` is called at its end."""
        if self._lost:
            on_lost()
            return
        self._taken = on_lost
        # For uvicorn the response is complete; what it needs for another request is not needed any more.
        if self._answering is not None:
            self._answering.response_complete = True
        self.pipeline.clear()
        self._came, self._flow.held = b"", False
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
            self._came = self._came[self._at :] + data if self._at < len(self._came) else data
            self._at = 0
            self._parse()

    def send_400_response(self, msg: str) -> None:
        status, why = self._fault or Fault(HTTPStatus.BAD_REQUEST, msg)
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            self.transport.write(f"{head}content-length: {len(why)}\r\nconnection: close\r\n\r\n{why}".encode())
            self.transport.close()

    def _parse(self) -> None:
        """Parses what has come, a piece after the other, until enough requests wait for an answer."""
        while self._at < len(self._came) and len(self.pipeline) < _WAITING and not self.transport.is_closing():
            in_body = self._in_body()
            end = self._at + (_PIECE_OF_BODY if in_body else _PIECE)
            data = self._came[self._at : end]
            self._at = end
            self._unparsed += len(data)
            super().data_received(data)
            if self._unparsed > _LONGEST_PART:
                self.send_400_response(TOO_LONG.why)
        self._flow.held = self._at < len(self._came) and not self.transport.is_closing()
        if self._flow.held:
            self._flow.pause_reading()
        else:
            self._came, self._at = b"", 0

    def _in_body(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._watch is not None:
            self._watch.cancel()
        # uvicorn tells the last request alone: one before it would be answered on a connection that is closed.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._watch = self._answering = None
        super().connection_lost(exc)
        taken, self._taken = self._taken, None
        if taken is not None:
            taken()

    def shutdown(self) -> None:
        """The server stops. The hub ends the streams."""
        if self._taken is None:
            super().shutdown()

    def plain_head(self) -> bytes:
        """The head of a request whose body is framed as that of the one that is being parsed."""
        self._goes_on = True
        framing = (b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing)

    def _answers(self, cycle: RequestResponseCycle) -> None:
        """The application is about to answer this request."""
        self._answering = cycle
        self.chunked = cycle.scope["http_version"] != "1.0"

    def _look(self) -> None:
        """Drops a client that for the send time-out has taken nothing of what it was sent, or has sent nothing of a
        request that is not whole. A phone that has vanished, or a proxy that has fallen silent, closes nothing."""
        unsent = self.transport.get_write_buffer_size()
        left = self.written - unsent
        # What counts is that it takes something: a slow client may take hours for all.
        idle = left <= self._left if unsent else self._waits_for_request() and not self._heard
        self._idle = self._idle + 1 if idle else 0
        self._left, self._heard = left, False
        if self._idle >= _LOOKS or self._dribbles():
            self.transport.abort()
        else:
            self._watch = self.loop.call_later(self._every, self._look)

    def _waits_for_request(self) -> bool:
        if self._taken is not None or self.timeout_keep_alive_task is not None:  # the latter is uvicorn's to end
            return False
        cycle = self._answering
        return cycle is None or cycle.response_complete or cycle.more_body

    def _dribbles(self) -> bool:
        """Whether a request has begun to come too long ago. One that is not read is not late."""
        if self._taken is not None or self._begun is None or not self._within or self.pipeline:
            return False
        late: bool = self.loop.time() - self._begun > self._within
        return late


async def _crowded(scope: Any, receive: Any, send: Any) -> None:
    """Answers for the application: this process has all the connections that it may have."""
    headers = {"Retry-After": "5", "Connection": "close"}
    detail = "This process has as many connections as it may."
    await respond(503, "too_many_connections", detail, retryable=True, headers=headers)(scope, receive, send)


class Server(uvicorn.Server):
    """Ends open streams first: uvicorn would wait for them before it tells the application to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        # Not the loop's own handler: when the loop is closed, that leaves the signal as one that kills.
        signal.signal(REPORT, lambda *_: loop.call_soon_threadsafe(self._report))
        # The streams end here, when no connection can be made any more.
        self.lifespan.state["ending"].disarm()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            # Not one more connection, or clients whose streams end would come back to this very process.
            server.close()
        for connection in list(self.server_state.connections):
            # Closed when its stream ends. On a connection that lives on, a client would come back to this very
            # process too, and hear an error that makes a browser give up.
            connection.shutdown()
        services = self.lifespan.state.get("services")
        if services is not None:
            await services.hub.close()
        await super().shutdown(sockets)
        ignore_reports()

    def _report(self) -> None:
        services = self.lifespan.state.get("services")
        if services is not None:
            logger.info("process %d: %d connections, %r", os.getpid(), len(self.server_state.connections), services.hub)


def missing() -> Iterator[str]:
    """Names that uvicorn has no more, of those that this module rests on."""
    for kind, names in _USED.items():
        # Attributes of instances are in no table: the code of the class names them.
        named = {name for each in vars(kind).values() if isfunction(each) for name in each.__code__.co_names}
        yield from (f"{kind.__name__}.{name}" for name in names if not hasattr(kind, name) and name not in named)
