"""Servers that behave as a bad network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def losing_one_answer(port: int, answer: bytes) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Forwards to the server at `port`, and cuts the connection on which `answer` would come back first.

    Gives its own port, and an event that is set when the answer was lost. Close your clients before it ends.
    """
    lost = asyncio.Event()
    connections: set[asyncio.Task[None]] = set()

    async def answers(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65536):
            if answer in data and not lost.is_set():
                lost.set()
                return
            writer.write(data)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        there, back = await asyncio.open_connection("127.0.0.1", port)
        answering = asyncio.create_task(answers(there, writer))
        answering.add_done_callback(lambda _: writer.close())
        while data := await reader.read(65536):
            back.write(data)
        back.close()
        await answering
        await back.wait_closed()

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], lost
        await asyncio.gather(*connections)


@asynccontextmanager
async def never_answering() -> AsyncIterator[int]:
    """Accepts every connection, reads what comes and says nothing; gives its port."""
    connections: set[asyncio.Task[None]] = set()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        while await reader.read(65536):
            pass
        writer.close()

    async with await asyncio.start_server(read, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*connections)
