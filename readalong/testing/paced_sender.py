"""Writes a stream at its pace, past aiohttp, whose writes would cost more CPU than all the rest."""

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice

from readalong.testing.chunks import FaultAction, Frame
from readalong.testing.stats import Stream
from readalong.testing.timer_wheel import TimerWheel

AHEAD = 32
"""Chunks made ahead: making each one alone, with cold caches, costs several times as much."""

CATCH_UP = 64
"""Chunks that a late stream sends in one write, at most."""

BACKLOG_BYTES = 256 * 1024
"""A stream waits while its client has not read this much."""

BACKLOG_SECONDS = 0.02

EARLY_SECONDS = 0.001
"""uvloop's timers count whole milliseconds and may fire this early; a stream would spin until its due time."""

_UNEVEN = tuple(1.0 + 0.3 * ((index * 37 % 101) - 50) / 50 for index in range(101))


def token_intervals(tokens_per_second: float) -> Iterator[float]:
    """Yields seconds between tokens for ever: uneven by up to 30 %, exact on average."""
    return cycle([factor / tokens_per_second for factor in _UNEVEN])


class PacedSender:
    """Writes to the transport whenever a token is due. Each write is one HTTP chunk."""

    def __init__(
        self,
        transport: asyncio.Transport,
        wheel: TimerWheel,
        stream: Stream,
        frames: Iterator[Frame],
        rate: float,
        *,
        chunked: bool,
    ) -> None:
        self._transport = transport
        self._wheel = wheel
        self._stream = stream
        self._frames = frames
        self._ready: list[Frame] = []
        self._intervals = token_intervals(rate)
        self._chunked = chunked
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()
        self._done: asyncio.Future[FaultAction | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> FaultAction | None:
        """Writes all frames up to a fault. Returns the fault's action, or None.

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
            # An error in making a frame would otherwise leave the stream open for ever.
            self._done.set_exception(error)

    def _step(self) -> None:
        transport, stream, ready = self._transport, self._stream, self._ready
        if transport.is_closing():
            raise ConnectionResetError("the client has gone")
        now, due = self._clock(), self._due
        if transport.get_write_buffer_size() > BACKLOG_BYTES:
            self._due = now + BACKLOG_SECONDS
            self._wheel.call_at(self._due, self._fire)
            return
        data, count = b"", 0
        until = now + EARLY_SECONDS
        while due <= until and count < CATCH_UP:
            frame = ready.pop() if ready else self._refill()
            if frame is None or frame.action is not None:
                self._send(data + frame.data if frame else data)
                self._done.set_result(frame.action if frame else None)
                return
            data += frame.data
            stream.sent(frame)
            count += 1
            if frame.tokens:
                due += next(self._intervals)
        self._send(data)
        # A stream that cannot keep up skips the backlog, or each batch would be longer than the last.
        self._due = due if count < CATCH_UP else max(due, now)
        self._wheel.call_at(self._due, self._fire)

    def _refill(self) -> Frame | None:
        """Returns the next frame, or None at the end. The following frames wait in `_ready`, last first."""
        self._ready.extend(islice(self._frames, AHEAD))
        self._ready.reverse()
        return self._ready.pop() if self._ready else None

    def _send(self, data: bytes) -> None:
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
