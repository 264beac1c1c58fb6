"""A stream that keeps a pace. CPU a token matters here: it writes past aiohttp, which costs more than the rest."""

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice

from readalong.testing.chunks import FaultAction, Frame
from readalong.testing.stats import Stream
from readalong.testing.wheel import TimerWheel

AHEAD = 32
"""Chunks made ahead: making them one by one, each after a pause of the CPU, costs several times as much."""

CATCH_UP = 64
"""The most chunks that a late stream sends in one write."""

BACKLOG_BYTES = 256 * 1024
"""A stream waits while its client has left so much unread."""

BACKLOG_SECONDS = 0.02

EARLY_SECONDS = 0.001
"""uvloop's timers count whole milliseconds and may fire so early; a stream would spin until its time."""

_UNEVEN = tuple(1.0 + 0.3 * ((place * 37 % 101) - 50) / 50 for place in range(101))


def gaps(tokens_per_second: float) -> Iterator[float]:
    """Seconds between tokens: uneven by up to 30 %, and right on average. Never ends."""
    return cycle([factor / tokens_per_second for factor in _UNEVEN])


class PacedSender:
    """One write each time that a token is due, straight to the transport, framed as an HTTP chunk."""

    def __init__(
        self,
        transport: asyncio.Transport,
        wheel: TimerWheel,
        stream: Stream,
        pieces: Iterator[Frame],
        rate: float,
        *,
        chunked: bool,
    ) -> None:
        self._transport = transport
        self._wheel = wheel
        self._stream = stream
        self._pieces = pieces
        self._ready: list[Frame] = []
        self._gaps = gaps(rate)
        self._chunked = chunked
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()
        self._done: asyncio.Future[FaultAction | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> FaultAction | None:
        """Write all pieces; answers the act at which they stopped, None if they all went out.

        Raises ConnectionResetError if the client has gone.
        """
        self._fire()
        return await self._done

    def _fire(self) -> None:
        if self._done.done():
            return
        try:
            self._step()
        except Exception as error:
            # Without this a fault in making a piece would leave the stream open for ever.
            self._done.set_exception(error)

    def _step(self) -> None:
        transport, stream, ready = self._transport, self._stream, self._ready
        if transport.is_closing():
            raise ConnectionResetError("the client has gone")
        now, due = self._clock(), self._due
        if transport.get_write_buffer_size() > BACKLOG_BYTES:
            self._due = now + BACKLOG_SECONDS
            self._wheel.at(self._due, self._fire)
            return
        data, count = b"", 0
        until = now + EARLY_SECONDS
        while due <= until and count < CATCH_UP:
            piece = ready.pop() if ready else self._refill()
            if piece is None or piece.act is not None:
                self._send(data + piece.frame if piece else data)
                self._done.set_result(piece.act if piece else None)
                return
            data += piece.frame
            stream.sent(piece)
            count += 1
            if piece.tokens:
                due += next(self._gaps)
        self._send(data)
        # A stream that can not keep up forgets what it owes, or each batch would be longer than the last.
        self._due = due if count < CATCH_UP else max(due, now)
        self._wheel.at(self._due, self._fire)

    def _refill(self) -> Frame | None:
        """The next piece; those after it wait in `_ready`, last first. None at the end."""
        self._ready.extend(islice(self._pieces, AHEAD))
        self._ready.reverse()
        return self._ready.pop() if self._ready else None

    def _send(self, data: bytes) -> None:
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
