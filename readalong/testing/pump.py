"""Writes one stream to its connection, until it ends, is cut or stalls."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from itertools import islice

from aiohttp import web

from readalong.testing.behaviours import Behaviour, Profile
from readalong.testing.chunks import FaultAction, Frame
from readalong.testing.faults import shards
from readalong.testing.paced import PacedSender, gaps
from readalong.testing.stats import Stream
from readalong.testing.wheel import TimerWheel

BATCH = 64
"""Chunks a write when there is no pace to keep."""

SHARD_SECONDS = 0.001
"""How long a shard that ends within a character has the wire for itself."""


class StreamSender:
    """One open stream over a response whose headers have been sent."""

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

    async def run(self, pieces: Iterator[Frame], manner: Profile) -> FaultAction | None:
        """Write all pieces; answers the act at which they stopped, None if they all went out.

        Raises ConnectionResetError if the client has gone.
        """
        if manner.first_token_seconds:
            await asyncio.sleep(manner.first_token_seconds)
        if manner.has(Behaviour.SPLIT):
            return await self._split(pieces, manner)
        if not manner.tokens_per_second:
            return await self._fast(pieces)
        return await self._paced(pieces, manner.tokens_per_second)

    def cut(self) -> None:
        """Close the connection after what was written, in the middle of the body."""
        self._transport.close()

    def reset(self) -> None:
        """Make the client see a reset connection."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _fast(self, pieces: Iterator[Frame]) -> FaultAction | None:
        while batch := list(islice(pieces, BATCH)):
            frames = []
            act = None
            for piece in batch:
                frames.append(piece.frame)
                self._stream.sent(piece)
                if piece.act is not None:
                    act = piece.act
                    break
            await self._write(b"".join(frames))
            if act is not None:
                return act
            # A write that need not wait does not yield, and one stream would hold up all others.
            await asyncio.sleep(0)
        return None

    async def _split(self, pieces: Iterator[Frame], manner: Profile) -> FaultAction | None:
        pauses = gaps(manner.tokens_per_second) if manner.tokens_per_second else None
        for piece in pieces:
            for shard in shards(piece.frame):
                await self._write(shard)
                # Let the bytes leave alone, and where a character is cut, with time to be read alone.
                await asyncio.sleep(SHARD_SECONDS if shard[-1] & 0x80 else 0)
            self._stream.sent(piece)
            if piece.act is not None:
                return piece.act
            if pauses is not None and piece.tokens:
                await asyncio.sleep(next(pauses))
        return None

    async def _paced(self, pieces: Iterator[Frame], rate: float) -> FaultAction | None:
        paced = PacedSender(self._transport, self._wheel, self._stream, pieces, rate, chunked=self._chunked)
        return await paced.run()

    async def _write(self, data: bytes) -> None:
        if data:
            await self._response.write(data)
