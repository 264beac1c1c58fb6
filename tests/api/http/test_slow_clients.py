"""Clients that read slowly, or not at all. test_bounded.py tests their cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from readalong.api.fanout.sse_response import SseResponse
from readalong.api.wire.native import native
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Client, Player
from tests.api.serving import a_hub, a_site, on_valkey, short_settings
from tests.support.waiting import until

pytestmark = on_valkey


async def test_close_drops_a_client_that_does_not_read(settings: Settings, log: Log) -> None:
    """Its stream could not end in time. The client reconnects with the position of its last event."""
    player = await Player.start(log)
    await player.say(40, pad="x" * 100_000)
    async with a_hub(settings) as hub:
        client = Client()
        aborted = asyncio.Event()
        feed = await hub.feed(player.job_id, 0)
        stream = SseResponse(hub, feed, native, 0, send_timeout=30)

        class Full(asyncio.Transport):
            def abort(self) -> None:
                aborted.set()
                taken[0]()

        taken: list[Callable[[], None]] = []
        flow = FlowControl(Full())
        flow.pause_writing()
        line = SimpleNamespace(
            transport=Full(), flow=flow, detach=taken.append, begin=lambda keep_alive: None, chunked=True
        )
        scope = {"type": "http", "extensions": {"readalong.line": line}}
        running = asyncio.create_task(stream(scope, client.receive, client.send))
        await until(lambda: client.status == 200, "the head")
        client.reading.clear()
        await player.say(1)
        await until(lambda: "watchers=1" in repr(hub), "the watcher")
        await until(lambda: feed.newest == player.last, "the event")
        await hub.close()
        await running
        assert aborted.is_set()
        assert not client.complete


@pytest.mark.slow
async def test_a_slow_client_that_reads_on_is_not_closed(redis_url: str, log: Log) -> None:
    """The end is one write of 12 MB. At its pace the client needs several send time-outs for it."""
    player = await Player.start(log)
    async with a_site(short_settings(redis_url, send_timeout=4)) as site:
        async with await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
            await stream.some(2)
            await player.finish(content="x" * 12_000_000)
            size = pause_at = 0
            while piece := await stream.reader.read(65_536):
                size += len(piece)
                if size > pause_at:
                    pause_at = size + 262_144
                    await asyncio.sleep(0.15)  # its pace
        assert size > 12_000_000
