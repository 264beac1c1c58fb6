"""The life of a job without a server: on fakeredis with Lua, for users who test their own code against the log."""

from __future__ import annotations

import fakeredis
from arq.connections import ArqRedis

from readalong.core.events import merge
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.core.transcript import Transcript
from readalong.redis.facade import RedisFacade
from readalong.store.log import ClaimStatus, Log
from readalong.store.submission import Submission

_ID = "a-job-without-a-server"
_NEW = Submission(_ID, "demo", b'{"messages":[]}', b"{}", "digest", 1)


async def test_a_job_is_submitted_streamed_cancelled_and_ended(fake_redis: fakeredis.FakeAsyncRedis) -> None:
    """All scripts of a log run there and do the same."""
    log = Log(RedisFacade(ArqRedis(fake_redis.connection_pool), Settings()), Settings())
    created, record = await log.submit(_NEW)
    assert (created, record.status) == (True, Status.QUEUED)
    claim = await log.claim(_ID, b'{"id":"w"}', "token")
    assert (claim.status, claim.attempt, claim.last_seq) == (ClaimStatus.RUN, 1, 2)
    words = [("content", b'{"content":"one"}'), ("content", b'{"content":" two"}')]
    assert (await log.append(_ID, 1, 3, words)).cancel_flag is None
    assert await log.cancel(_ID, "me") is Status.RUNNING
    assert (await log.append(_ID, 1, 5, [("content", b'{"content":" three"}')])).cancel_flag is not None
    await log.finish(_ID, 1, 6, [("cancelled", b'{"by":"me","content":"one two three"}')], {"metrics": b"{}"})
    assert await log.compact(_ID, 1, 3, list(merge(await log.read(_ID, 2, 100))))
    said = Transcript()
    said.add_all(await log.read(_ID, 0, 100))
    assert (said.text(), said.end, said.last_seq) == ("one two three", "cancelled", 6)


async def test_a_cancelled_job_that_waits_ends_at_once(fake_redis: fakeredis.FakeAsyncRedis) -> None:
    log = Log(RedisFacade(ArqRedis(fake_redis.connection_pool), Settings()), Settings())
    await log.submit(_NEW)
    assert await log.cancel(_ID, "me") is Status.CANCELLED
    assert [event.type for event in await log.read(_ID, 0, 100)] == ["queued", "cancelled"]
    assert (await log.claim(_ID, b"{}", "token")).status is ClaimStatus.ENDED
