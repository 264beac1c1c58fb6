"""When a background task of an API process ends, the process ends: it must not serve without events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from readalong.api.supervisor import Supervisor
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Stream, on_valkey
from tests.support.processes import API_CODE, Process
from tests.support.servers import free_port
from tests.support.waiting import until

#: Runs before each fault. `joined` fills as watchers join: an earlier fault would leave no stream to test.
NOTES = """
from readalong.api.fanout.feed import Feed
joined = []
add = Feed.add
def noted(self, watcher, **how):
    add(self, watcher, **how)
    joined.append(watcher)
Feed.add = noted
"""
#: The fault of each task, in mid-life: as soon as there is a watcher.
PLANTS = {
    "hub comments": """
from readalong.api.fanout.hub import Hub
async def broken(self, seconds):
    if joined: raise RuntimeError("planted")
Hub._beat_once = broken
""",
    "presence": """
from readalong.api.fanout.hub import Hub
def broken(self):
    if joined: raise RuntimeError("planted")
    return []
Hub.with_watchers = broken
""",
    "subscriber heartbeat": """
import asyncio
from readalong.redis.pubsub import PubSubConnection
async def broken(self):
    while not joined: await asyncio.sleep(0.01)
    raise RuntimeError("planted")
PubSubConnection._beat = broken
""",
    "subscriber": """
from readalong.redis.pubsub import PubSubConnection, RedisProtocol
wait = RedisProtocol.open
async def broken(connection, hear, lost):
    link = await wait(connection, hear, lost)
    async def never():
        while not joined: await asyncio.sleep(0.01)
        raise RuntimeError("planted")
    link.lost.wait = never
    return link
RedisProtocol.open = broken
import asyncio
""",
}


@asynccontextmanager
async def broken_api(redis_url: str, plant: str, folder: Path) -> AsyncIterator[tuple[Process, int]]:
    """Starts an API process with this code before its own. Yields the process and its port."""
    port = free_port()
    environment = {**os.environ, "READALONG_REDIS_URL": redis_url, "READALONG_SSE_KEEPALIVE": "0.3"}
    process = Process("api", ["-c", NOTES + plant + API_CODE, str(port)], environment, folder)
    process.start(0)
    try:
        await asyncio.to_thread(process.line, "(startup complete)")
        yield process, port
    finally:
        process.kill()


@pytest.mark.parametrize("task", PLANTS)
@on_valkey
async def test_a_dead_loop_ends_the_process_and_its_streams(
    redis_url: str, log: Log, tmp_path: Path, task: str
) -> None:
    """The log has the traceback, the exit code is 1, and streams end as by SIGTERM: clients resume elsewhere."""
    player = await Player.start(log)
    async with AsyncExitStack() as stack:
        process, port = await stack.enter_async_context(broken_api(redis_url, PLANTS[task], tmp_path))
        stream = await stack.enter_async_context(await Stream.open(port, f"/v1/jobs/{player.job_id}/events"))
        seen = await stream.rest()
        assert [message.event for message in seen] == ["queued", "started"]
        await until(lambda: process.code is not None, "the end of the process")
        assert process.code == 1
        assert f"background task '{task}' ended" in process.output
        assert "RuntimeError: planted" in process.output


async def test_a_stray_cancellation_is_a_death_and_an_orderly_one_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """A future that is cancelled elsewhere ends the task that awaits it, and asyncio logs nothing."""
    deaths: list[str] = []
    supervisor = Supervisor(lambda: deaths.append(supervisor.dead_task))

    async def awaits(future: asyncio.Future[None]) -> None:
        await future

    loop = asyncio.get_running_loop()
    orderly, stray = loop.create_future(), loop.create_future()
    stopped = asyncio.create_task(awaits(orderly), name="stopped")
    struck = asyncio.create_task(awaits(stray), name="struck")
    supervisor.watch(stopped, struck)
    await asyncio.sleep(0)
    stopped.cancel()
    await asyncio.wait([stopped])
    assert not deaths
    stray.cancel()
    await asyncio.wait([struck])
    await asyncio.sleep(0)
    assert deaths == ["struck"]
    assert "background task 'struck' ended" in caplog.text
