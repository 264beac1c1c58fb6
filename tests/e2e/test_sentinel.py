"""Behind Sentinels: the primary dies in mid-stream, the replica is promoted, and no watcher sees a gap."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import AnyUrl
from redis.exceptions import ConnectionError

from readalong.core.settings import Settings
from readalong.redis.sentinel import Sentinels
from tests.e2e.jobs import paced, submit
from tests.support.history import assert_whole, text
from tests.support.sentinel import NAME, trio
from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def _settings(port: int, password: str = "") -> Settings:
    return Settings(
        redis_url=AnyUrl(f"redis://:{password}@{NAME}/0"), sentinels=f"127.0.0.1:{free_port()},127.0.0.1:{port}"
    )


async def test_a_failover_in_mid_stream_harms_neither_job_nor_watcher() -> None:
    """The worker sends again what the replica lacks. The first Sentinel of the list is down."""
    async with trio() as servers:
        settings = {
            "READALONG_REDIS_URL": f"redis://{NAME}/0",
            "READALONG_SENTINELS": f"127.0.0.1:{free_port()},127.0.0.1:{servers.port}",
        }
        with Stack(settings=settings) as stack:
            stack.redis = servers.primary
            job = await submit(stack, paced(tokens=400, rate=50))
            watcher = asyncio.create_task(job.watcher(resumes=False).run())
            await job.says(0.2)
            await asyncio.to_thread(servers.primary.kill)
            await until(lambda: servers.primary_port == servers.replica.port, "the failover")
            stack.redis = servers.replica
            shown = await job.ended()
            log = stack.log_of(job.id)
            assert_whole(log, (await watcher).history)
            assert (shown["status"], shown["attempt"], text(log)) == ("done", 1, job.text)
            after = await submit(stack, paced(tokens=5, rate=0))
            assert (await after.ended())["status"] == "done"


async def test_a_sentinel_that_wants_a_password_gets_that_of_redis() -> None:
    async with trio(password="p%c") as servers:
        assert await Sentinels(_settings(servers.port, "p%25c")).primary() == ("127.0.0.1", servers.primary.port)
        with pytest.raises(ConnectionError, match=NAME):
            await Sentinels(_settings(servers.port, "wrong")).primary()


async def test_without_any_sentinel_redis_is_away() -> None:
    with pytest.raises(ConnectionError, match=NAME):
        await Sentinels(_settings(free_port())).primary()
