"""Writes one stream to its connection: paced, at full speed, or in odd writes."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from itertools import islice

from aiohttp import web

from readalong.testing.behaviours import Behaviour
from readalong.testing.chunks import FaultAction, Frame
from readalong.testing.faults import split_frame
from readalong.testing.paced_sender import PacedSender, token_intervals
from readalong.testing.profile import Profile
from readalong.testing.stats import Stream
from readalong.testing.timer_wheel import TimerWheel

BATCH = 64
"""Chunks a write at full speed."""

CUT_CHARACTER_SECONDS = 0.001
"""The pause after a write that ends within a character."""


class StreamSender:
    """Writes one stream over a response whose headers have been sent."""

    def __init__(
        self,
        response: web.StreamResponse,
        transport: asyncio.Transport,
        wheel: TimerWheel,
        stream: Stream,
        *,
        chunked: bool,
    ) -> None:
        self._response = response
        self._wheel = wheel
        self._transport = transport
        self._chunked = chunked
        self._stream = stream

    async def run(self, frames: Iterator[Frame], profile: Profile) -> FaultAction | None:
        """Writes all frames up to a fault. Returns the fault's action, or None.

        Raises ConnectionResetError if the client has gone.
        """
        if profile.first_token_seconds:
            await asyncio.sleep(profile.first_token_seconds)
        if profile.has(Behaviour.SPLIT):
            return await self._split(frames, profile)
        if not profile.tokens_per_second:
            return await self._at_full_speed(frames)
        return await self._paced(frames, profile.tokens_per_second)

    def cut(self) -> None:
        """Closes the connection in the middle of the body, after all that was written."""
        self._transport.close()

    def reset(self) -> None:
        """Resets the connection."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _at_full_speed(self, frames: Iterator[Frame]) -> FaultAction | None:
        while batch := list(islice(frames, BATCH)):
            parts = []
            action = None
            for frame in batch:
                parts.append(frame.data)
                self._stream.sent(frame)
                if frame.action is not None:
                    action = frame.action
                    break
            await self._write(b"".join(parts))
            if action is not None:
                return action
            # A write that need not wait does not yield: one stream would hold up all others.
            await asyncio.sleep(0)
        return None

    async def _split(self, frames: Iterator[Frame], profile: Profile) -> FaultAction | None:
        pauses = token_intervals(profile.tokens_per_second) if profile.tokens_per_second else None
        for frame in frames:
            for part in split_frame(frame.data):
                await self._write(part)
                # Without a pause the kernel would join the writes again.
                await asyncio.sleep(CUT_CHARACTER_SECONDS if part[-1] & 0x80 else 0)
            self._stream.sent(frame)
            if frame.action is not None:
                return frame.action
            if pauses is not None and frame.tokens:
                await asyncio.sleep(next(pauses))
        return None

    async def _paced(self, frames: Iterator[Frame], rate: float) -> FaultAction | None:
        sender = PacedSender(self._transport, self._wheel, self._stream, frames, rate, chunked=self._chunked)
        return await sender.run()

    async def _write(self, data: bytes) -> None:
        if data:
            await self._response.write(data)
