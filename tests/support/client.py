"""A small, strict HTTP and event-stream client for tests. It shares no code with the code under test."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.support.connections import close_after_test

TERMINAL = frozenset({"done", "failed", "cancelled"})

#: An event's id: its number and the epoch of its log, if the log has one.
_ID = re.compile(r"([0-9]+)(?:-([0-9A-Za-z]+))?")
#: Seconds before a watcher reconnects.
_PAUSE = 0.02


class Cut(Exception):
    """The connection broke before the body's end."""


class Malformed(Exception):
    """Raised when the server breaks the protocol."""


class Entry(NamedTuple):
    """One event as a client receives it or as the log stores it.

    `id` is its number; `data` is JSON, except `[DONE]`.
    """

    id: int | None
    event: str | None
    data: str
    #: The epoch that the client received; "" for an event from the log.
    epoch: str = ""

    @property
    def log_lost(self) -> bool:
        """Whether the event says that Redis has lost events that the client has seen."""
        return self.event == "restarted" and self.fields["reason"] == "log_lost"

    @property
    def position(self) -> str:
        """The position that a client sends back after this event."""
        return f"{self.id}-{self.epoch}" if self.epoch else str(self.id)

    @property
    def fields(self) -> dict[str, Any]:
        """The data, parsed."""
        value: dict[str, Any] = json.loads(self.data)
        return value

    @property
    def terminal(self) -> bool:
        return self.event in TERMINAL


class Answer(NamedTuple):
    """A whole response. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Parser:
    """Parses an event stream that may be split anywhere. Strict: LF only, known fields only, each once, numeric ids."""

    def __init__(self) -> None:
        self.comments = 0
        self._rest = b""

    def feed(self, piece: bytes) -> list[Entry]:
        """Returns the events that the piece completes. Raises Malformed."""
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        return [entry for block in blocks if (entry := self._entry(block)) is not None]

    def close(self) -> None:
        """Ends the stream. Raises Malformed if it ends within an event."""
        if self._rest:
            raise Malformed(f"the stream ends with half an event: {self._rest[:80]!r}")

    def _entry(self, block: bytes) -> Entry | None:
        found: dict[str, str] = {}
        for line in block.decode().split("\n"):
            if line.startswith(":"):
                self.comments += 1
                continue
            name, colon, value = line.partition(": ")
            if not colon or name not in ("id", "event", "data") or name in found or "\r" in line:
                raise Malformed(f"not a line of an event: {line[:80]!r}")
            found[name] = value
        if not found:
            return None
        if "data" not in found:
            raise Malformed(f"an event without data: {block[:80]!r}")
        if "id" not in found:
            return Entry(None, found.get("event"), found["data"])
        matched = _ID.fullmatch(found["id"])
        if matched is None:
            raise Malformed(f"not an id: {found['id'][:80]!r}")
        return Entry(int(matched[1]), found.get("event"), found["data"], matched[2] or "")


class Response:
    """A response whose body is not read yet, on its own connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Self:
        """Sends a request and reads the response's head. Raises OSError or Cut."""
        response = await cls.send(method, url, body, headers)
        try:
            await response.head()
        except BaseException:
            response.abort()
            raise
        return response

    @classmethod
    async def send(
        cls, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Self:
        """Sends a request without reading the response."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        close_after_test(writer.transport)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        if body is not None:
            lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return cls(reader, writer)

    async def head(self) -> None:
        """Reads status and headers."""
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(f"no response: {error!r}") from None
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it arrives. Raises Cut when the connection ends before the body does."""
        try:
            if self.status == 204:
                return
            if "content-length" in self.headers:
                yield await self._reader.readexactly(int(self.headers["content-length"]))
                return
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(repr(error)) from None

    async def entries(self, parser: Parser | None = None) -> AsyncGenerator[Entry, None]:
        """Yields the events of the body. Raises Cut, Malformed."""
        parser = parser or Parser()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                for entry in parser.feed(piece):
                    yield entry
        parser.close()

    def abort(self) -> None:
        """Drops the connection at once, as a client that goes away."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):  # the connection is closed either way
            await self._writer.wait_closed()


async def call(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends one request and reads the whole response. A body that is not bytes is sent as JSON. Raises OSError, Cut."""
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    async with await Response.open(method, url, raw, headers) as response:
        whole = b"".join([piece async for piece in response.pieces()])
        return Answer(response.status, response.headers, whole)


@dataclass
class Watcher:
    """Follows one job as a browser does: keeps its position and reconnects with it, to each replica in turn."""

    urls: Sequence[str]
    job_id: str
    position: int = 0
    #: Whether it reconnects after a lost connection; if not, `run` raises Cut.
    resumes: bool = True
    history: list[Entry] = field(default_factory=list)
    #: The id that it sends back; empty means its first position.
    last_id: str = ""
    #: Events without a number, which the log does not have: that the job waits for a worker.
    notices: list[Entry] = field(default_factory=list)
    #: Lost connections, and connections that the server closed properly without a terminal event.
    cuts: int = 0
    farewells: int = 0
    comments: int = 0
    connections: int = 0
    #: Whether a reconnect at the end of the job got a 204.
    told_over: bool = False

    @property
    def ended(self) -> bool:
        """Whether it has received the terminal event."""
        return bool(self.history) and self.history[-1].terminal

    @property
    def over(self) -> bool:
        """Whether no more events will come."""
        return self.ended or self.told_over

    async def run(self, count: int | None = None) -> Self:
        """Watches until the end, or drops the connection after `count` events."""
        seen = 0
        while not self.over:
            try:
                async with aclosing(self._connection()) as entries:
                    async for entry in entries:
                        if entry.id is None and entry.event == "waiting":
                            self.notices.append(entry)
                            continue
                        self.history.append(entry)
                        if entry.id is not None:
                            self.position, self.last_id = entry.id, entry.position
                        seen += 1
                        if seen == count:
                            return self
            except (Cut, OSError):
                if not self.resumes:
                    raise
                self.cuts += 1
                await asyncio.sleep(_PAUSE)
                continue
            self._said_farewell()
        return self

    def _said_farewell(self) -> None:
        """Handles a connection that the server closed properly."""
        if self.over:
            return
        if not self.resumes:
            raise Cut("the server ended the stream without a terminal event")
        self.farewells += 1

    async def _connection(self) -> AsyncGenerator[Entry, None]:
        """Yields one connection's events; none if the job ended at the watcher's position."""
        url = self.urls[self.connections % len(self.urls)]
        self.connections += 1
        headers = {"Last-Event-ID": self.last_id or str(self.position)} if self.position else {}
        parser = Parser()
        async with await Response.open("GET", f"{url}/v1/jobs/{self.job_id}/events", None, headers) as response:
            if response.status == 204:
                self.told_over = True
                return
            if response.status == 503:
                raise Cut("Redis is away")
            if response.status != 200:
                raise Malformed(f"{response.status} for a watcher: {[piece async for piece in response.pieces()]}")
            try:
                async with aclosing(response.entries(parser)) as entries:
                    async for entry in entries:
                        yield entry
            finally:
                self.comments += parser.comments
