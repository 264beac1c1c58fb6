"""A body as aiohttp receives it, read with as few steps a piece as can be.

aiohttp's own `read` keeps the borders of HTTP's chunks, which nobody asks for, and with each piece it calls its parser
once more for bytes that are not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, Self

import aiohttp
import httpx2

#: Bytes that wait to be read before aiohttp stops reading the connection, and the most in a piece.
_MOST: Final = 65_536


class Body(aiohttp.StreamReader):
    """aiohttp's parser fills it as it fills the one that it made; only what empties it is ours."""

    # With fields of its own it could not take the place of aiohttp's.
    __slots__ = ()

    @classmethod
    def of(cls, content: aiohttp.StreamReader) -> Self:
        """The same object, from now on one of these. Nobody has read from it yet, and nobody but `pieces` is to."""
        content.__class__ = cls
        assert isinstance(content, cls)
        content._high_water = _MOST
        return content

    def end_http_chunk_receiving(self) -> None:
        """aiohttp would note where in the body it was."""

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All that has come, again and again to the end. Raises httpx2.ReadError where it breaks off."""
        buffer = self._buffer
        try:
            while True:
                if buffer:
                    piece = buffer.popleft() if len(buffer) == 1 else b"".join(buffer)
                    buffer.clear()
                    self._size = 0
                    if len(piece) <= _MOST:
                        yield piece
                        continue
                    for start in range(0, len(piece), _MOST):
                        yield piece[start : start + _MOST]
                    self._protocol.resume_reading()
                elif self._exception is not None:
                    raise self._exception
                elif self._eof:
                    return
                else:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        except aiohttp.ClientError as error:
            raise httpx2.ReadError(str(error)) from error
