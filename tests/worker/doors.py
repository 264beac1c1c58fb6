"""Models that are away at first, or that refuse some of their callers."""

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

#: What a door answers with: a whole HTTP answer.
YES: Final = SSE + HELLO + DONE


@asynccontextmanager
async def back_at(port: int) -> AsyncIterator[str]:
    """The demo model at a port where it was away. Gives its base URL."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve("127.0.0.1", port, ready.set_result, handle_signals=False), name="demo model")
    try:
        yield await asyncio.wait_for(ready, WITHIN)
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def hanging_up(port: int) -> AsyncIterator[list[int]]:
    """A port whose server hangs up on every request, as a server does that goes down. The one number counts them."""
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
    """Yields a model whose answer depends on a request's key and model, and the list of these of all requests."""
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
    """An answer with an error object, as OpenAI's."""
    return reply(orjson.dumps({"error": {"message": message, "code": None}}), status=f"{status} No")
