"""Publishes by HTTP: pipelined POSTs on a kept-alive connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.harness.errors import BenchError


class Poster:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: ".encode()

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int, path: str) -> AsyncIterator[Poster]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer, path)
        finally:
            writer.close()
            await writer.wait_closed()

    async def publish(self, texts: Sequence[bytes]) -> None:
        """Sends all POSTs, then reads all responses. Raises BenchError for a status from 300 on."""
        self._writer.write(b"".join(b"%b%d\r\n\r\n%b" % (self._head, len(text), text) for text in texts))
        for _ in texts:
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            if int(head[9:12]) >= 300:
                raise BenchError(f"a publish was answered {head!r}")
            await self._reader.readexactly(int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]))
