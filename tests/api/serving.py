"""The API in this process on its own port, and a client that sees the exact bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import pytest
import uvicorn
from pydantic import AnyUrl

from readalong.api.app import create_app
from readalong.api.auth.policy import Policy
from readalong.api.dependencies import Dependencies
from readalong.api.fanout.hub import Hub
from readalong.api.server import create_server
from readalong.core.settings import Settings
from readalong.core.sse import Decoder, Message
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.log import Log
from tests.api.helpers import without_debug
from tests.support.connections import open_connection, tcp_socket
from tests.support.waiting import WITHIN

#: Runs on the embedded Valkey alone: for slow tests, or where the brand of the server does not matter.
on_valkey = pytest.mark.parametrize("redis_server", ["valkey"], indirect=True)


def short_settings(url: str, **changes: Any) -> Settings:
    """Returns settings for that server, with short times."""
    values: dict[str, Any] = {
        "redis_timeout": 20,
        "hub_heartbeat": 5,
        "feed_linger": 0.3,
        "send_timeout": 50,
        "hosts": "test",  # more than the tests' own requests need
        **changes,
    }
    return Settings(redis_url=AnyUrl(url), **values)


@asynccontextmanager
async def a_hub(settings: Settings) -> AsyncIterator[Hub]:
    """Yields a started hub on its own Redis client."""
    redis = connect(settings)
    facade = RedisFacade(redis, settings)
    hub = Hub(facade, Log(facade, settings), settings)
    hub.start()
    try:
        yield hub
    finally:
        await hub.close()
        await redis.aclose()


@asynccontextmanager
async def a_log(settings: Settings) -> AsyncIterator[Log]:
    """Yields a log on its own Redis client, as a worker has."""
    redis = connect(settings)
    try:
        yield Log(RedisFacade(redis, settings), settings)
    finally:
        await redis.aclose()


@dataclass
class Site:
    port: int
    server: uvicorn.Server
    deps: Dependencies
    app: Any
    http: httpx2.AsyncClient

    @property
    def hub(self) -> Hub:
        return self.deps.hub

    async def open(self, path: str, **options: Any) -> Stream:
        return await Stream.open(self.port, path, **options)

    async def watch(self, job_id: str, after: int = 0) -> list[Message]:
        """Yields all messages after the position."""
        async with await self.open(f"/v1/jobs/{job_id}/events?after={after}") as stream:
            return await stream.rest()


@asynccontextmanager
async def a_site(settings: Settings, policy: Policy | None = None) -> AsyncIterator[Site]:
    """Serves the API on 127.0.0.1 in the loop of the test; ends with uvicorn's orderly shutdown."""
    without_debug()
    app = create_app(settings, policy=policy)
    # The client keeps a connection for 5 s. A server with the same time-out closes it just as a request arrives.
    server = create_server(app, settings, timeout_keep_alive=10, date_header=False)
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    with tcp_socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        port = listener.getsockname()[1]
        await server.startup(sockets=[listener])
        try:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WITHIN, verify=False) as http:
                yield Site(port, server, server.lifespan.state["dependencies"], app, http)
        finally:
            await server.shutdown()


class Stream:
    """One HTTP/1.1 response, read from its own socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.version = ""
        self.headers: dict[str, str] = {}
        #: The received bytes of the status line and the headers.
        self.head = b""
        #: The body so far, without the chunk encoding.
        self.body = bytearray()
        self.reader = reader
        self.writer = writer
        self._decoder = Decoder()

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        *,
        method: str = "GET",
        version: str = "1.1",
        headers: Iterable[str] = (),
        body: bytes = b"",
        receive_buffer: int = 0,
    ) -> Stream:
        """Sends a request and reads the head of its response. `receive_buffer`: bytes, 0 for the system's default."""
        stream = cls(*await open_connection(port, receive_buffer))
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        stream.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await stream.read_head()
        return stream

    async def read_head(self) -> None:
        async with asyncio.timeout(WITHIN):
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = self.head.decode().rstrip("\r\n").split("\r\n")
        self.version, code, *_ = status.split(" ")
        self.status = int(code)
        self.headers = dict(line.split(": ", 1) for line in lines)

    async def piece(self) -> bytes:
        """Returns the next chunk of the body; b"" at its end. Raises IncompleteReadError if the connection breaks."""
        async with asyncio.timeout(WITHIN):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            piece = (await self.reader.readexactly(size + 2))[:-2]
        self.body += piece
        return piece

    async def messages(self) -> list[Message] | None:
        """Returns the messages that the next chunk completes; None at the end of the body."""
        piece = await self.piece()
        return self._decoder.feed(piece) if piece else None

    async def some(self, count: int) -> list[Message]:
        """Returns at least this many messages."""
        found: list[Message] = []
        while len(found) < count:
            more = await self.messages()
            assert more is not None, f"the stream ended after {len(found)} messages"
            found += more
        return found

    async def rest(self) -> list[Message]:
        """Returns all messages up to the end of the body."""
        found: list[Message] = []
        while (more := await self.messages()) is not None:
            found += more
        return found

    def vanish(self) -> None:
        """Resets the connection."""
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()
