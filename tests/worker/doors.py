"""Models that are down at first, or that refuse some of their callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import orjson

from readalong.testing.server import serve
from tests.support.servers import served
from tests.support.waiting import WITHIN
from tests.worker.raw import DONE, HELLO, SSE, reply

#: A whole HTTP response.
YES: Final = SSE + HELLO + DONE


@asynccontextmanager
async def back_at(port: int) -> AsyncIterator[str]:
    """Starts the demo model at a port where it was down. Yields its base URL."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve("127.0.0.1", port, ready.set_result, handle_signals=False), name="demo model")
    try:
        yield await asyncio.wait_for(ready, WITHIN)
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def hanging_up(port: int) -> AsyncIterator[list[int]]:
    """Serves a port that closes each connection without a response, as a server that shuts down does. The one number
    counts the requests."""
    count = [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            count[0] += 1
        writer.close()

    async with served(port, answer):
        yield count


@asynccontextmanager
async def door(port: int, answer_to: Callable[[str, str], bytes]) -> AsyncIterator[list[tuple[str, str]]]:
    """Yields the requests so far, each as key and model. The response to a request depends on them."""
    asked: list[tuple[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
            body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
            asked.append((headers.get("authorization", "").removeprefix("Bearer "), body["model"]))
            writer.write(answer_to(*asked[-1]))
            await writer.drain()
        writer.close()

    async with served(port, answer):
        yield asked


def refusal(status: int, message: str = "No.") -> bytes:
    """Returns a response with an error object, as OpenAI's."""
    return reply(orjson.dumps({"error": {"message": message, "code": None}}), status=f"{status} No")
