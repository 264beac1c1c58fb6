"""The scripts that run on a cluster, on a real cluster of one node: it refuses keys of two slots, declared or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any

import pytest

from readalong.core.errors import StoreRefused
from readalong.core.events import merge
from readalong.core.settings import Settings
from readalong.core.thread_entries import entries_of
from readalong.redis.facade import Argument, RedisFacade
from readalong.redis.scripts import SCRIPTS
from readalong.store.idempotency import IdempotencyStore, key_digest
from readalong.store.log import Log
from readalong.store.repeats import RepeatStore
from readalong.store.threads import ThreadRef, ThreadStore, Turn
from tests.readalong.helpers import command, settings_for
from tests.readalong.jobs import WORKER, content, end, queued, submission
from tests.support.clients import client_of
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until


@pytest.fixture
def node() -> Iterator[RedisServer]:
    """Starts a server that is a whole cluster."""
    with RedisServer.start() as server:
        server.kill()
        server.settings = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
        server.restart()
        server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        yield server


class Recorder(RedisFacade):
    """Records the scripts that it calls."""

    called: set[str]

    async def call(self, script: str, keys: Sequence[str], *args: Argument) -> Any:
        self.called.add(script)
        return await super().call(script, keys, *args)


def for_one_server() -> set[str]:
    """Returns the scripts whose head says that they need one server."""
    folder = files("readalong.redis") / "lua"
    return {name for name in SCRIPTS if "\n-- One server only: " in (folder / f"{name}.lua").read_text("utf-8")}


async def test_a_script_runs_on_a_cluster_unless_its_head_says_that_it_needs_one_server(
    node: RedisServer, resources: AsyncExitStack
) -> None:
    settings: Settings = settings_for(node.url)
    pool = client_of(settings, resources)
    redis = Recorder(pool, settings)
    redis.called = set()

    async def ready() -> bool:
        return "ok" in str(await command(pool, "CLUSTER", "INFO")).split("cluster_state")[1][:8]

    await until(ready, "the cluster")
    log, idempotency = Log(redis, settings), IdempotencyStore(redis, settings)

    new = submission()
    await log.submit(new)
    await log.set_metadata(new.job_id, b"{}")
    claim = await log.claim(new.job_id, WORKER, "t")
    await log.reclaim(new.job_id, claim)
    await log.append(new.job_id, claim.fence, 3, content("a", "b"))
    await log.requeue(new.job_id, claim.fence, "deploy", counts=False)
    await log.cancel(new.job_id, "ann")
    await log.finish(new.job_id, claim.fence, 5, end("cancelled"), {})
    assert await log.compact(new.job_id, claim.fence, 3, list(merge(await log.read(new.job_id, 2, 100))))
    await log.expire(await queued(log))
    await log.delete(new.job_id)
    await idempotency.claim("key", new.job_id, "digest")
    await idempotency.release(key_digest("key"), new.job_id)
    threads, thread = ThreadStore(redis, settings), ThreadRef.of("t", {})
    await threads.create(thread, {}, entries_of([{"role": "user", "content": "a"}]))
    await threads.begin(thread, new.job_id, Turn(entries_of([{"role": "user", "content": "b"}]), "t"))
    await threads.place(thread, new.job_id)
    await threads.end(thread, new.job_id, keep=True)
    [entry, *_] = await threads.entries(thread)
    await threads.remove(thread, entry.id)
    await threads.erase(thread)
    repeats = RepeatStore(redis, settings)
    await repeats.offer("digest", new.job_id, "-")
    assert await repeats.take("digest", "-") == new.job_id
    await repeats.end("digest", new.job_id)
    # The length of the queue is one key, but part of a call that needs one server.
    assert redis.called == set(SCRIPTS) - for_one_server() - {"depth"}
    with pytest.raises(StoreRefused, match="slot"):
        await log.states([new.job_id, await queued(log)])
