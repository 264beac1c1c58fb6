"""The bytes that a client can make Redis keep: requests are deleted at their jobs' ends, and queued requests have a
budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.api.helpers import Player
from tests.api.routes.test_submit import job, problem
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.readalong.jobs import submission
from tests.support.waiting import until

pytestmark = on_valkey

SIZE = 300_000
LARGE: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * SIZE}]}


async def _done(log: Log, job_id: str) -> None:
    await (await Player.start(log, job_id)).finish()


async def _cancelled(log: Log, job_id: str) -> None:
    await log.cancel(job_id, "client")


@pytest.mark.parametrize("ending", [_done, _cancelled])
async def test_a_request_leaves_redis_when_its_job_ends_unless_it_is_to_be_kept(
    log: Log, redis: ArqRedis, settings: Settings, ending: Callable[[Log, str], Awaitable[None]]
) -> None:
    """A hundred requests of 4 MiB would fill half a gigabyte for a day. The setting keeps the request as it is
    stored."""
    keys = settings.keys
    for keep in (False, True):
        new = submission(request=orjson.dumps(LARGE), keep_request=keep)
        await log.submit(new)
        assert await command(redis, "HGET", keys.job(new.job_id), "request") == new.request
        await ending(log, new.job_id)
        assert (await redis.memory_usage(keys.job(new.job_id), samples=0) > SIZE) is keep
        assert await command(redis, "HGET", keys.job(new.job_id), "request") == (new.request if keep else None)


@pytest.mark.parametrize("store", [None, True])
async def test_metadata_is_stored_once_unless_the_model_gets_it_too(
    settings: Settings, redis: ArqRedis, *, store: bool | None
) -> None:
    body = {"messages": [{"content": "hi"}], "metadata": {"a": 1}, "store": store, "temperature": 0.5}
    async with a_site(settings) as site:
        made = job(await site.http.post("/v1/jobs", json=body))
        assert made.metadata.root == {"a": 1}
    stored = await command(redis, "HGET", settings.keys.job(made.id), "request")
    wanted = body if store else {name: value for name, value in body.items() if name != "metadata"}
    assert orjson.loads(stored) == wanted


async def test_what_waits_has_a_budget_of_bytes_at_all_processes(redis_url: str, redis: ArqRedis, queue: Queue) -> None:
    """All processes share it. There is room as soon as jobs are acquired or end. A key that was accepted still gets
    its response. Foreign entries weigh nothing."""
    settings = short_settings(redis_url, max_queued_bytes=4 * SIZE)
    keys = settings.keys
    await command(redis, "ZADD", keys.queue, 1, "no id")
    await command(redis, "SET", keys.weight, "no number", "PX", 60_000)
    async with a_site(settings) as one, a_site(settings) as other:

        async def post(site: Site, key: str | None = None) -> Any:
            return await site.http.post("/v1/jobs", json=LARGE, headers={"Idempotency-Key": key} if key else {})

        ids = [job(await post(site, key)).id for site, key in ((one, "k"), (other, None), (one, None), (other, None))]
        for site in (one, other):
            assert problem(await post(site), 429, "queue_full").retryable
        assert job(await post(other, "k")).id == ids[0]
        await queue.acquire("w", 2)
        await until(lambda: _lets_in(post, one), "room")
    assert await redis.pttl(keys.weight) <= 1000


async def _lets_in(post: Callable[[Site], Awaitable[Any]], site: Site) -> bool:
    return bool((await post(site)).status_code == 202)
