"""Connections that send far more than is answered are not read, and cost a fixed number of bytes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.api.http.uvicorn_internals import _MAX_PIPELINED, DetachableHttpProtocol
from readalong.core.settings import Settings
from tests.api.http.test_bad_clients import send
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.support.waiting import until

pytestmark = on_valkey

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
#: The most requests in one piece.
IN_A_PIECE = 8


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[DetachableHttpProtocol]:
    """Records the server's side of every connection."""
    made: list[DetachableHttpProtocol] = []
    really = DetachableHttpProtocol.connection_made

    def connection_made(line: DetachableHttpProtocol, transport: Any) -> None:
        made.append(line)
        really(line, transport)

    monkeypatch.setattr(DetachableHttpProtocol, "connection_made", connection_made)
    return made


@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["plain", "upgrade"])
async def test_a_few_pipelined_requests_wait_and_all_are_answered_in_order(
    settings: Settings, lines: list[DetachableHttpProtocol], monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """Until the first request is answered, its client cannot send more than the buffers hold. Once, 23 MB took 1.5
    GB."""
    gate = asyncio.Event()
    count = 3_000
    async with a_site(settings) as site:

        async def slow(scope: Any, receive: Any, send_: Any) -> None:
            await gate.wait()
            body = scope["query_string"]
            await send_({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send_({"type": "http.response.body", "body": body})

        config: Any = site.server.config
        monkeypatch.setattr(config, "loaded_app", slow)
        whole = b"".join(request_.replace(b"/healthz", b"/healthz?%04d" % number) for number in range(count))
        endless = b"".join([whole] * 100)
        reader, writer = await send(site, whole)
        [line] = [line for line in lines if line.app is slow]
        await until(lambda: line.pipeline, "the first request")
        writer.write(endless)
        await until(
            lambda: line.flow.read_paused and writer.transport.get_write_buffer_size(), "the server to stop reading"
        )
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(line.pipeline) <= _MAX_PIPELINED + IN_A_PIECE
        assert len(line._pending) < 1_000_000
        assert writer.transport.get_write_buffer_size() > 5_000_000
        gate.set()
        async with asyncio.timeout(200):
            for number in range(count):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                assert await reader.readexactly(4) == b"%04d" % number
                assert len(line.pipeline) <= _MAX_PIPELINED + IN_A_PIECE
        writer.transport.abort()


async def test_a_client_that_is_gone_is_gone_for_the_first_of_its_requests_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response to a closed connection would fill the log with tracebacks."""
    told: asyncio.Queue[str] = asyncio.Queue()
    async with a_site(settings) as site:

        async def slow(scope: Any, receive: Any, send_: Any) -> None:
            while True:
                message = await receive()
                told.put_nowait(message["type"])
                if message["type"] == "http.disconnect":
                    return

        config: Any = site.server.config
        monkeypatch.setattr(config, "loaded_app", slow)
        _, writer = await send(site, GET * 3)
        async with asyncio.timeout(30):
            assert await told.get() == "http.request"
            writer.transport.abort()
            assert await told.get() == "http.disconnect"


async def answer_to(site: Site, data: bytes) -> bytes:
    """Returns all bytes until the server closes the connection."""
    reader, writer = await send(site, data)
    try:
        async with asyncio.timeout(200):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_body_that_goes_on_after_its_answer_is_not_read_for_ever(redis_url: str) -> None:
    """A client that reads gets its 413. After a second limit the connection is closed."""
    limit = 1_000_000
    async with a_site(short_settings(redis_url, max_body_bytes=limit)) as site:
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, writer = await send(site, head)
        chunk = b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
        sent = 0

        async def go_on() -> None:
            nonlocal sent
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += 50_000
                if sent == limit + 500_000:
                    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(go_on(), 200)
        assert sent < 20 * limit
        writer.transport.abort()


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ",
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["head", "body", "refused body"],
)
async def test_a_request_that_dribbles_is_closed_after_its_time(redis_url: str, begun: bytes) -> None:
    """Each byte is within the send time-out. A connection whose requests come whole stays open meanwhile."""
    async with a_site(short_settings(redis_url, request_timeout=0.5, send_timeout=1)) as site:
        whole_reader, whole = await send(site, b"")
        _, writer = await send(site, begun)

        async def dribble() -> None:
            while True:
                writer.write(b"a")
                await writer.drain()
                whole.write(GET)
                assert (await whole_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
                await asyncio.sleep(0.02)  # the pace of the attack

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(dribble(), 200)
        writer.transport.abort()
        whole.transport.abort()


async def test_connections_have_a_number_and_streams_are_not_cut_for_more(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next connection gets a 503. Far beyond the limit, connections are closed at once."""
    monkeypatch.setattr("readalong.api.http.uvicorn_internals._MAX_REFUSALS", 1)
    async with a_site(short_settings(redis_url, max_connections=2)) as site:
        first, second = [await send(site, GET) for _ in range(2)]
        for reader, _ in (first, second):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        told = await answer_to(site, GET)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b'"too_many_connections"' in told
        assert re.search(rb"(?i)retry-after: \d", told)
        _, waiting = await send(site, b"")
        await until(lambda: len(site.server.server_state.connections) == 3, "a third")
        assert await answer_to(site, GET) == b""
        second[1].write(GET)
        assert (await second[0].readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        first[1].transport.abort()
        waiting.transport.abort()
        await until(lambda: len(site.server.server_state.connections) == 1, "room")
        third_reader, third = await send(site, GET)
        assert (await third_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        for writer in (third, second[1]):
            writer.transport.abort()
