"""A model whose tokens are the time at which they are sent: `@<monotonic nanoseconds> `.

It implements as much of OpenAI's streamed chat completions as the contenders need, at the pace of the request:
`"bench": {"tokens": 500, "per_second": 50}`. The clock is the machine's, so another process can subtract. Before the
first token comes the time of the request, `~<monotonic nanoseconds> `. With `"words": true` it sends English words
instead, about five characters each.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from typing import Any, Final, cast

import orjson
import uvloop

from bench.load.stamps import STAMP

#: A token in the text of an answer; and, before the first, the time of the request.
TOKEN: Final = STAMP
ASKED: Final = re.compile(rb"~(\d+) ")

_WORDS: Final = (b"the ", b"time ", b"of ", b"every ", b"reader ", b"comes ", b"to ", b"one ", b"story ", b"again ")

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_CHUNK: Final = (
    b'data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","created":%d,"model":"clock",'
    b'"service_tier":"default","system_fingerprint":"fp_clock","choices":['
)
_DELTA: Final = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}'
_REST: Final = b'],"usage":%b}\n\n'
_USAGE: Final = b'{"prompt_tokens":1,"completion_tokens":%d,"total_tokens":%d}'


class Connection(asyncio.Protocol):
    """One connection; its requests follow each other."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._chunk = b""
        self._left = 0
        self._tokens = 0
        self._rate = 1.0
        self._asked = b""
        self._words = False
        self._due = 0.0
        self._random = random.Random()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of it.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not blank or length is None or len(rest) < int(length[1]):
            return
        self._received = b""
        self._begin(orjson.loads(rest))

    def _begin(self, request: dict[str, Any]) -> None:
        wishes = request["bench"]
        self._asked = b"~%d " % time.monotonic_ns()
        self._words = bool(wishes.get("words"))
        self._tokens = self._left = int(wishes["tokens"])
        self._rate = float(wishes["per_second"])
        self._chunk = _CHUNK % (self._random.getrandbits(60), int(time.time()))
        self._transport.write(_HEAD + self._said(b'{"role":"assistant","content":"","refusal":null}'))
        # Streams that were opened together must not send together.
        self._due = self._loop.time() + self._random.random() / self._rate
        self._timer = self._loop.call_at(self._due, self._next)

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            self._end()
            return
        self._left -= 1
        if self._words:
            text = self._random.choice(_WORDS)
        else:
            text, self._asked = self._asked + b"@%d " % time.monotonic_ns(), b""
        self._transport.write(self._said(b'{"content":"%b"}' % text))
        # As uneven as a model, and right on average.
        self._due += self._random.uniform(0.7, 1.3) / self._rate
        self._timer = self._loop.call_at(self._due, self._next)

    def _end(self) -> None:
        usage = _USAGE % (self._tokens, self._tokens + 1)
        last = _chunked(self._chunk + _REST % usage + b"data: [DONE]\n\n")
        self._transport.write(self._said(b"{}", b'"stop"') + last + b"0\r\n\r\n")

    def _said(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return _chunked(self._chunk + _DELTA % (delta, finish) + _REST % b"null")


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(port: int) -> None:
    """Serves on 127.0.0.1 until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=1024)
    await stop.wait()
    server.close()


def run(port: int) -> int:
    """Serves until SIGTERM; returns the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port))
    return 0
