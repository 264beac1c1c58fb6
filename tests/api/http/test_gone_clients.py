"""Clients that disconnect, with or without a close, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from functools import partial
from typing import Any

import orjson
import pytest

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.fanout.watcher import Watcher
from readalong.api.http.uvicorn_internals import DetachableHttpProtocol
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.fanout.test_watcher import held_by
from tests.api.helpers import Player
from tests.api.serving import a_site, on_valkey, short_settings
from tests.support.waiting import until

pytestmark = on_valkey


async def test_a_client_that_vanishes_leaves_nothing(redis_url: str, log: Log) -> None:
    """By a reset or by a close of the connection."""
    player = await Player.start(log)
    async with a_site(short_settings(redis_url, feed_linger=0)) as site:
        for how in ("reset", "close"):
            stream = await site.open(f"/v1/jobs/{player.job_id}/events")
            await stream.some(2)
            assert "watchers=1 " in repr(site.hub)
            if how == "reset":
                stream.vanish()
            else:
                stream.writer.close()
            await until(lambda: "feeds=0 watchers=0" in repr(site.hub), f"nothing after a {how}")
            await until(lambda: not site.server.server_state.connections, "no connection")


async def test_a_client_that_vanishes_unread_leaves_nothing(redis_url: str, log: Log) -> None:
    """In the middle of a blocked write."""
    player = await Player.start(log)
    await player.say(40, pad="x" * 100_000)
    async with a_site(short_settings(redis_url, feed_linger=0, send_timeout=30)) as site:
        for _ in range(3):
            async with await site.open(f"/v1/jobs/{player.job_id}/events", receive_buffer=4096) as stream:
                port = stream.writer.get_extra_info("sockname")[1]
                await until(partial(held_by, port, site), "a blocked write")
            await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "the hub to be empty")


async def test_five_hundred_openings_and_closings_leave_nothing(redis_url: str, log: Log) -> None:
    """No feed, watcher, task or connection stays, and the hub keeps no memory of them."""
    players = [await Player.start(log) for _ in range(5)]
    # The hub's heartbeats come in between: the objects of the last heartbeat must go too.
    async with a_site(short_settings(redis_url, feed_linger=0, sse_keepalive=0.03)) as site:
        paths = [f"/v1/jobs/{player.job_id}/events" for player in players]

        async def cycle(number: int) -> None:
            stream = await site.open(paths[number % 5])
            if number % 3:
                await stream.some(2)
            stream.vanish()

        async def quiet() -> None:
            await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "no feed")
            await until(lambda: not site.server.server_state.tasks, "no request")
            await until(lambda: "wanted=0 confirmed=0" in repr(site.hub), "no channel")
            await until(lambda: not site.server.server_state.connections, "no connection")

        await asyncio.gather(*map(cycle, range(10)))
        await quiet()
        await until(lambda: len(asyncio.all_tasks()) <= 9, "the test, the lifespan, the API's own seven")
        tasks, objects = len(asyncio.all_tasks()), live_objects()
        for _ in range(10):
            await asyncio.gather(*map(cycle, range(50)))
        await quiet()
        # Fewer are fine: a last UNSUBSCRIBE may have been on its way when they were counted.
        await until(lambda: len(asyncio.all_tasks()) <= tasks, f"{tasks} tasks again")
        await until(lambda: live_objects() == objects, f"{objects} again")


def live_objects() -> dict[str, int]:
    """Returns the number of live objects of each class of a stream."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return {
        kind.__name__: kinds.count(kind) for kind in (Watcher, Feed, SseResponse, ReplayBuffer, DetachableHttpProtocol)
    }


async def test_the_count_of_live_objects_sees_a_stream_and_its_going(settings: Settings, log: Log) -> None:
    """Otherwise the test above could not fail."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        before = live_objects()
        async with await site.open(f"/v1/jobs/{player.job_id}/events"):
            await until(lambda: "watchers=1 " in repr(site.hub), "the watcher")
            during = live_objects()
            assert all(
                during[name] == before[name] + 1
                for name in ("Watcher", "Feed", "ReplayBuffer", "DetachableHttpProtocol")
            ), during
        await until(lambda: live_objects() == before, f"{before} again")


_MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
#: A call of each API that begins a job, and whether the job ends with its watchers.
CALLS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "chat stream": ("/chat/stream", {"messages": _MESSAGES}, True),
    "whole completion": ("/v1/chat/completions", {"messages": _MESSAGES}, True),
    "completion": ("/v1/chat/completions", {"messages": _MESSAGES, "stream": True}, True),
    "whole response": ("/v1/responses", {"input": "hi"}, True),
    "response": ("/v1/responses", {"input": "hi", "stream": True}, True),
    "response in the background": ("/v1/responses", {"input": "hi", "stream": True, "background": True}, False),
    "useChat": ("/api/chat", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}, False),
    "AG-UI": ("/agui", {"threadId": "t", "runId": "r", "messages": [{"id": "m", **_MESSAGES[0]}]}, True),
}


async def test_a_client_that_drops_as_soon_as_it_has_asked_leaves_a_job_that_ends_as_if_it_had_watched(
    settings: Settings, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """No watcher ever came that could leave, and no error is logged."""
    async with a_site(settings) as site:
        for number, (path, body, ends) in enumerate(CALLS.values(), 1):
            raw = orjson.dumps(body)
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", site.port)) as client:
                client.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
            jobs: list[dict[str, Any]] = []

            async def made(number: int = number, jobs: list[dict[str, Any]] = jobs) -> bool:
                jobs[:] = (await site.http.get("/v1/jobs")).json()["jobs"]
                return len(jobs) == number

            await until(made, f"the job of {path}")
            due = await site.deps.redis.command("ZSCORE", settings.keys.presence, jobs[0]["id"])
            assert (jobs[0]["status"], due is not None) == ("queued", ends), path
        await until(lambda: "watchers=0 " in repr(site.hub), "no watcher")
        await until(lambda: not site.server.server_state.tasks, "no request")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info] == []
