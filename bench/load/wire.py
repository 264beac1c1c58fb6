"""A cheap client: raw sockets that keep the bytes and their times. They are parsed after the measurement."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self, cast

import orjson

from bench.harness.errors import BenchError
from bench.load.clock_model import ASKED, TOKEN

_HOST: Final = "127.0.0.1"
#: Frames from here on repeat the whole text.
_END: Final = b"event: done\n"


class Answer(NamedTuple):
    """A response, the time of its request's write, and its own time, in nanoseconds of the machine's clock."""

    sent: int
    came: int
    body: dict[str, Any]


class Token(NamedTuple):
    """The times at which the model sent a token and the client read it, in nanoseconds of the machine's clock."""

    sent: int
    came: int


class Caller:
    """A kept-alive connection for small JSON calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection(_HOST, port))

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Raises BenchError for a status from 400 on."""
        request = encode(method, path, body)
        sent = time.monotonic_ns()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        said = await self._reader.readexactly(length)
        came = time.monotonic_ns()
        status = int(head[9:12])
        if status >= 400:
            raise BenchError(f"{method} {path} answered {status}: {said[:300]!r}")
        return Answer(sent, came, orjson.loads(said))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Stream(asyncio.Protocol):
    """One response, read to its end on its own connection."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        #: Set at the first token, and when the server has closed the connection.
        self.begun: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        #: The time of the request's write, in nanoseconds of the machine's clock.
        self.sent = 0
        self._request = request
        self._times: list[int] = []
        self._pieces: list[bytes] = []

    @classmethod
    async def open(cls, port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Self:
        request = encode(method, path, body, close=True)
        _, stream = await asyncio.get_running_loop().create_connection(lambda: cls(request), _HOST, port)
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sent = time.monotonic_ns()
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._times.append(time.monotonic_ns())
        self._pieces.append(data)
        if not self.begun.done() and TOKEN.search(data):
            self.begun.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        self.closed.set_result(None)

    def time_of(self, text: bytes) -> int:
        """Returns the time at which the first occurrence of `text` was complete. Raises BenchError without one."""
        said = self._said()
        at = said.find(text)
        if at < 0:
            raise BenchError(f"no {text!r} in {said[:1000]!r}")
        return self._arrivals([at + len(text)])[0]

    def tokens(self) -> list[Token]:
        """Returns all tokens, in order. Raises BenchError for another kind of response."""
        said = self._said()
        matches = list(TOKEN.finditer(said.partition(_END)[0]))
        came = self._arrivals([match.end() for match in matches])
        return [Token(int(match[1]), at) for match, at in zip(matches, came, strict=True)]

    def asked(self) -> int:
        """Returns the time at which the model got the request. Raises BenchError without one."""
        found = ASKED.search(self._said())
        if found is None:
            raise BenchError("the model did not say when it was asked")
        return int(found[1])

    def count(self, text: bytes) -> int:
        """Counts `text` in the response, without the repeated text of its end."""
        head, end, _ = self._said().partition(_END)
        return (head + end).count(text)

    def size(self) -> int:
        """Returns the bytes of the response."""
        return sum(map(len, self._pieces))

    def _said(self) -> bytes:
        said = b"".join(self._pieces)
        if not said.startswith(b"HTTP/1.1 200 "):
            raise BenchError(f"the stream was answered {said[:300]!r}")
        return said

    def _arrivals(self, ends: list[int]) -> list[int]:
        """Returns for each offset into the response the time of its last byte."""
        offsets = list(accumulate(map(len, self._pieces)))
        return [self._times[bisect_left(offsets, end)] for end in ends]


def encode(method: str, path: str, body: dict[str, Any] | None = None, *, close: bool = False) -> bytes:
    """Encodes an HTTP/1.1 request; `close`: the server is to end the connection after its response."""
    data = b"" if body is None else orjson.dumps(body)
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(data)}",
        *(["connection: close"] if close else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def question(tokens: int, per_second: float, *, words: bool = False) -> dict[str, Any]:
    """Returns a chat request for this many tokens of the clock model at this pace."""
    return {
        "model": "clock",
        "messages": [{"role": "user", "content": "What time is it?"}],
        "bench": {"tokens": tokens, "per_second": per_second, "words": words},
    }


async def all_of(futures: list[asyncio.Future[None]], within: float, what: str) -> None:
    """Waits for all. Raises BenchError after `within` seconds."""
    _, late = await asyncio.wait(futures, timeout=within)
    if late:
        raise BenchError(f"{len(late)} of {len(futures)} streams had not {what} after {within:g} s")
