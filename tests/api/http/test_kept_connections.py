"""A stream that says `keep-alive` leaves its connection to further requests."""

from __future__ import annotations

import asyncio

import pytest

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.routes.test_openai_chat import newest_job
from tests.api.serving import Site, a_site, on_valkey
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
STREAM = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%b"
    b"Content-Length: %d\r\n\r\n%b"
)
END = b"data: [DONE]\n\n\r\n0\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def request(*lines: bytes) -> bytes:
    return STREAM % (b"".join(line + b"\r\n" for line in lines), len(BODY), BODY)


async def play(site: Site, log: Log, count: int = 1) -> None:
    """Plays the worker of the newest of so many jobs."""
    player = await Player.start(log, await newest_job(site, count))
    await player.append(NewEvent("content", {"content": "Hello"}))
    await player.finish(content="Hello")


async def test_one_connection_serves_a_stream_a_request_and_a_stream(settings: Settings, log: Log) -> None:
    """The watcher of each stream is gone when it has ended, and the API counts one connection."""
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        for count in (1, 2):
            writer.write(request())
            await play(site, log, count)
            head, _, _ = (await reader.readuntil(END)).partition(b"\r\n\r\n")
            assert b"connection: keep-alive" in head.lower()
            await until(lambda: "watchers=0" in repr(site.hub), "the watcher to leave")
            writer.write(HEALTH)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readuntil(b"}")
            # The connection of `site.http` is the other one.
            assert len(site.server.server_state.connections) == 2
        writer.close()


@pytest.mark.parametrize("how", ["asks for close", "sends a request too early"])
async def test_a_connection_closes_behind_the_stream_of_a_client_that(settings: Settings, log: Log, how: str) -> None:
    """A request that comes in the middle of a stream is not parsed. Its client must not wait for a response."""
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(request(b"Connection: close") if how == "asks for close" else request())
        if how != "asks for close":
            await until(lambda: "watchers=1" in repr(site.hub), "the stream")
            writer.write(HEALTH)
        await play(site, log)
        assert (await reader.read()).endswith(END)
        writer.close()
