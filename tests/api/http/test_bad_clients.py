"""Clients that vanish silently, read a byte at a time, or send rubbish leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from readalong.api.http.uvicorn_internals import DetachableHttpProtocol
from readalong.store.log import Log
from tests.api.fanout.test_watcher import check_padded
from tests.api.helpers import Player, check_stream
from tests.api.http.test_gone_clients import live_objects
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings
from tests.support.connections import open_connection
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = on_valkey


@asynccontextmanager
async def leaving_nothing(redis_url: str, server: RedisServer, **settings: Any) -> AsyncIterator[Site]:
    """Yields a site that must end as it started: no additional stream, connection, request, task, object, channel or
    Redis connection."""
    async with a_site(short_settings(redis_url, feed_linger=0, **settings)) as site:
        await until(lambda: "connected" in repr(site.hub), "the subscription")
        await site.http.get("/v1/jobs")  # opens the connection for commands
        state = site.server.server_state
        held = len(state.connections)  # the test's own, which is kept alive

        def redis_side() -> tuple[list[str], int]:
            return server.command("PUBSUB", "CHANNELS"), len(server.command("CLIENT", "LIST").splitlines())

        await until(lambda: redis_side()[0], "the hub's own channel")
        channels, clients = redis_side()
        tasks, objects = len(asyncio.all_tasks()), live_objects()
        yield site
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "no feed")
        await until(lambda: "wanted=0 confirmed=0" in repr(site.hub), "no channel wanted")
        await until(lambda: not state.tasks, "no request")
        await until(lambda: len(state.connections) <= held, "no connection")
        await until(lambda: redis_side()[0] == channels, "no channel in Redis")
        # Pools keep the few connections that they once needed at the same time.
        await until(lambda: redis_side()[1] <= clients + 2, f"about {clients} connections to Redis again")
        await until(lambda: len(asyncio.all_tasks()) <= tasks, f"{tasks} tasks again")
        await until(lambda: all(n <= objects[kind] for kind, n in live_objects().items()), f"{objects} again")


async def send(site: Site, data: bytes, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection and sends these bytes."""
    reader, writer = await open_connection(site.port, receive_buffer)
    writer.write(data)
    return reader, writer


HEAD = b"Host: localhost\r\n"
UNFINISHED = {
    "nothing": b"",
    "half a request line": b"GET /v1/jo",
    "half a head": b"GET /v1/jobs HTTP/1.1\r\nHost: te",
    "half a body": b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + b'Content-Length: 500\r\n\r\n{"mess',
    "half a chunk": b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n50\r\n{",
    "half a second head": b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\nGET /v1/jo",
}


async def test_a_client_that_vanishes_in_the_middle_of_a_request_is_closed(
    redis_url: str, redis_server: RedisServer
) -> None:
    """The send time-out closes it. Otherwise each would hold its connection and its request for ever."""
    async with leaving_nothing(redis_url, redis_server, send_timeout=0.3) as site:
        clients = [await send(site, data) for data in UNFINISHED.values()]
        for (reader, _), what in zip(clients, UNFINISHED, strict=True):
            async with asyncio.timeout(200):
                try:
                    await reader.read()
                except ConnectionError:
                    continue
            assert reader.at_eof(), what
        for _, writer in clients:
            writer.transport.abort()


@pytest.mark.slow
async def test_a_slowly_sent_request_is_answered(redis_url: str, redis_server: RedisServer) -> None:
    """The send time-out counts from the last byte."""
    async with leaving_nothing(redis_url, redis_server, send_timeout=5) as site:
        reader, writer = await send(site, b"")
        for byte in b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)  # its pace: more than a send time-out in all
        async with asyncio.timeout(200):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()


async def test_a_client_that_vanishes_before_it_has_read_a_whole_answer_is_closed(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """The response is not a stream: it is the job, with its whole text."""
    player = await Player.start(log)
    for _ in range(4):
        await player.say(40, pad="x" * 100_000)
    async with leaving_nothing(redis_url, redis_server, send_timeout=0.5) as site:
        request = f"GET /v1/jobs/{player.job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        _, writer = await send(site, request.encode(), receive_buffer=4096)
        state = site.server.server_state
        await until(lambda: len(state.connections) == 2, "the connection")
        await until(lambda: len(state.connections) == 1, "its connection to be closed")
        writer.transport.abort()


async def test_watchers_behind_a_proxy_that_falls_silent_leave_nothing(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """Clients close no connection and do not read: one whose job continues, and one whose job is erased."""
    players = [await Player.start(log) for _ in range(2)]
    async with leaving_nothing(redis_url, redis_server, send_timeout=0.5) as site, Proxy(site.port) as proxy:
        streams = [await Stream.open(proxy.port, f"/v1/jobs/{player.job_id}/events") for player in players]
        for stream in streams:
            await stream.some(2)
        proxy.stall()
        while "watchers=0 " not in repr(site.hub):
            for player in players:
                await player.say(10, pad="x" * 20_000)
        for stream in streams:
            stream.vanish()


async def test_an_erased_job_s_watcher_that_does_not_read_is_closed(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """The feed ends with the job. The connection, with unread bytes, must not stay."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}/events"
    async with (
        leaving_nothing(redis_url, redis_server, send_timeout=0.5) as site,
        await site.open(path, receive_buffer=4096) as stream,
    ):
        await stream.some(2)
        (line,) = (
            one
            for one in site.server.server_state.connections
            if isinstance(one, DetachableHttpProtocol) and one.written
        )
        while not line.transport.get_write_buffer_size():
            await player.say(1, pad="x" * 20_000)
        await site.hub.evict(player.job_id)
        await until(lambda: line not in site.server.server_state.connections, "the connection to be closed")


@pytest.mark.slow
async def test_a_client_that_reads_a_byte_at_a_time_is_closed_and_can_resume(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """The writer continues, and another client gets every event."""
    player = await Player.start(log)
    async with leaving_nothing(redis_url, redis_server, send_timeout=2) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        async with await site.open(path, receive_buffer=4096) as slow, await site.open(path) as quick:
            quick_reads = asyncio.create_task(quick.rest())
            taken = 0
            while "watchers=2 " in repr(site.hub):
                await player.say(10, pad="x" * 20_000)
                taken += len(await slow.reader.read(1))
            assert taken
            await player.finish()
            check_padded(await quick_reads, player.last)
        check_padded(await site.watch(player.job_id), player.last)


WATCH = b"GET /v1/jobs/%s/events%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
RUBBISH: list[bytes] = [
    b"\x00\xff\x16\x03\x01 rubbish\r\n\r\n",  # TLS, for example
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: \x00\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00{",
    b"POST /chat/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{",
    WATCH % (b"%00../../etc", b"", b""),
    WATCH % (b"a" * 22, b"?after=\x01", b""),
]


async def test_rubbish_is_refused_or_closed_and_leaves_nothing(
    redis_url: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In the request line, in headers, in bodies: never a 5xx or a traceback."""
    async with leaving_nothing(redis_url, redis_server, send_timeout=0.5) as site:
        for rubbish in RUBBISH:
            reader, writer = await send(site, rubbish)
            async with asyncio.timeout(200):
                try:
                    line = await reader.readline()
                except ConnectionError:
                    line = b""
            assert line == b"" or line.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), (rubbish[:80], line)
            writer.transport.abort()
    assert not [record for record in caplog.records if record.exc_info]


ENDLESS = {
    "path": b"GET /",
    "header": b"GET / HTTP/1.1\r\nA: ",
    "chunk extension": b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    "trailer": b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ",
}


async def test_a_head_that_never_ends_is_refused_and_leaves_nothing(redis_url: str, redis_server: RedisServer) -> None:
    """Otherwise the parser would keep all of it, and copy it again for each piece."""

    async def go_on(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"a" * 65_536)
            await writer.drain()

    async with leaving_nothing(redis_url, redis_server) as site:
        for begun in ENDLESS.values():
            _, writer = await send(site, begun)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(go_on(writer), 100)
            writer.transport.abort()


async def test_rubbish_as_a_position_is_refused_and_leaves_nothing(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    player = await Player.start(log)
    async with leaving_nothing(redis_url, redis_server) as site:
        for value in (b"\xff\xfe", b"-1", b"1, 2", b"x" * 8000, b"9" * 5000, b"\x7f"):
            head = b"Last-Event-ID: " + value + b"\r\n"
            reader, writer = await send(site, WATCH % (player.job_id.encode(), b"", head))
            async with asyncio.timeout(200):
                assert (await reader.readline()).startswith(b"HTTP/1.1 400 "), value
            writer.transport.abort()


BEHIND = {
    "another request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many requests": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
    "no HTTP": b"\x00\xff rubbish\r\n\r\n",
    "much of it": b"x" * 1_000_000,
}


@pytest.mark.parametrize(
    ("what", "together"),
    # In one packet, malformed data makes the whole packet a 400: the parser reads on before the first response.
    [*((what, False) for what in BEHIND), ("another request", True), ("many requests", True)],
)
async def test_data_behind_a_watch_changes_nothing(
    redis_url: str, redis_server: RedisServer, log: Log, what: str, together: bool
) -> None:
    """The stream continues to its end. A client that disconnects instead is noticed."""
    behind = BEHIND[what]
    player = await Player.start(log)
    async with leaving_nothing(redis_url, redis_server) as site:
        for leaves in (True, False):
            request = WATCH % (player.job_id.encode(), b"", b"")
            stream = Stream(*await send(site, request + (behind if together else b"")))
            await stream.read_head()
            begun = await stream.some(2)
            if not together:
                stream.writer.write(behind)
            if leaves:
                stream.vanish()
                await until(lambda: "watchers=0 " in repr(site.hub), "the client's leave")
        await player.say(2)
        await player.finish()
        check_stream([*begun, *await stream.rest()], 0, player.last)
        stream.vanish()


async def test_a_body_behind_a_watch_does_not_hide_the_client_s_leaving(
    redis_url: str, redis_server: RedisServer, log: Log
) -> None:
    """The server stops reading a body after its response; a client that does not read gets no end."""
    player = await Player.start(log)
    async with leaving_nothing(redis_url, redis_server) as site:
        head = b"Content-Length: 900000\r\n"
        stream = Stream(*await send(site, WATCH % (player.job_id.encode(), b"", head) + b"x" * 900_000))
        await stream.read_head()
        await stream.some(2)
        stream.vanish()
        await until(lambda: "watchers=0 " in repr(site.hub), "the client's leave")


BODY = b'{"messages":[{"role":"user","content":"x"}]}'
LENGTH = b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("rest", [LENGTH, CHUNKED], ids=["length", "chunks"])
async def test_an_offer_of_http_2_is_answered_in_http_1_1(
    redis_url: str, redis_server: RedisServer, rest: bytes, at_once: bool
) -> None:
    """Java's clients and `curl --http2` do so, also with a body, and continue with the connection."""
    offer = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    submit = b"POST /v1/jobs HTTP/1.1\r\n" + offer + rest
    look = b"GET /healthz HTTP/1.1\r\n" + offer + b"\r\n"
    data = submit + look + submit + look
    async with leaving_nothing(redis_url, redis_server) as site:
        reader, writer = await send(site, data if at_once else b"")
        for byte in b"" if at_once else data:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        async with asyncio.timeout(200):
            assert [await _answer(reader) for _ in range(4)] == [202, 200, 202, 200]
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
    await reader.readexactly(int(length[16:]))
    return int(head[9:12])
