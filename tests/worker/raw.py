"""Small servers that send exact bytes, for faults that the demo model does not have, and their responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import httpx2

from readalong.worker.model.openai.transport import Transport
from tests.support.waiting import WITHIN

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def reply(body: bytes, kind: str = "application/json", status: str = "200 OK", **headers: str) -> bytes:
    """Returns a whole response. An underscore in a header's name stands for a hyphen."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class RawServer:
    """`heads` are the request lines and headers so far, `bodies` the bodies. `left`: clients that closed their
    connection while it was kept open."""

    url: str = ""
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: int = 0


@asynccontextmanager
async def raw_server(*answers: bytes, keep_open: bool = False) -> AsyncIterator[RawServer]:
    """Sends each request the next of the answers, then the last one again and again, and closes the connection."""
    server = RawServer()
    open_ones: set[asyncio.StreamWriter] = set()
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        serving.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            server.heads.append(head.decode())
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            server.bodies.append(await reader.readexactly(int(lengths[0].split(b":")[1])))
            writer.write(answers[min(len(server.heads), len(answers)) - 1])
            await writer.drain()
            if keep_open:
                await reader.read()
                server.left += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # some tests are about a client that leaves first
        finally:
            writer.close()
            open_ones.discard(writer)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        async with listener:
            yield server
    finally:
        for writer in open_ones:
            writer.close()
        await asyncio.gather(*(task for task in serving if task is not None))


@asynccontextmanager
async def response_of(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """Yields a server's response after its head, as a worker gets it."""
    address = httpx2.URL(url)
    transport = Transport(address, connect_timeout=WITHIN)
    response = await transport.post(address, b"x", {})
    try:
        yield response
    finally:
        response.release()
        await transport.close()
