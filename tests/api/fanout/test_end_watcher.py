"""A client that waits for a job's end counts as a watcher, and hears why there is none."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from readalong.api.fanout.end_watcher import wait_for_end, wait_until
from readalong.core.errors import JobNotFound, Stopping
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Client, Player
from tests.api.serving import Site, a_site, on_valkey
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey


async def waits(site: Site, client: Client, job_id: str) -> None:
    feed = await site.hub.feed(job_id, 0)
    await wait_for_end(site.deps, Request({"type": "http"}, client.receive), feed)


async def begun(site: Site, client: Client, job_id: str) -> asyncio.Task[None]:
    task = asyncio.create_task(waits(site, client, job_id))
    await until(lambda: "watchers=1 " in repr(site.hub), "it waits")
    return task


async def test_it_returns_at_the_end_and_at_once_if_that_is_there(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        player = await Player.start(log)
        task = await begun(site, Client(), player.job_id)
        await player.say(1)
        await player.finish()
        await task
        assert "watchers=0 " in repr(site.hub)
        await waits(site, Client(), player.job_id)


async def test_a_client_that_leaves_ends_the_wait_and_is_no_watcher_any_more(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        player = await Player.start(log)
        client = Client()
        task = await begun(site, client, player.job_id)
        client.leave()
        with pytest.raises(ClientDisconnect):
            await task
        assert "watchers=0 " in repr(site.hub)


async def test_an_erased_job_and_a_stopping_process_are_told_apart(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        erased, other = await Player.start(log), await Player.start(log)
        task = await begun(site, Client(), erased.job_id)
        await site.hub.evict(erased.job_id)
        with pytest.raises(JobNotFound):
            await task
        task = await begun(site, Client(), other.job_id)
        await site.hub.close()
        with pytest.raises(Stopping):
            await task


async def test_a_wait_for_something_else_is_as_long_as_the_caller_says(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        player = await Player.start(log)
        feed = await site.hub.feed(player.job_id, 0)
        request = Request({"type": "http"}, Client().receive)
        await wait_until(site.deps, request, feed, lambda: False, 0.01)
        await wait_until(site.deps, request, feed, lambda: feed.newest == 2, None)
