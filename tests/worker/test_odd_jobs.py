"""Unreadable, unknown, newer, ended and broken jobs do not stop a worker."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from readalong.core.settings import Settings
from tests.readalong.helpers import command, types
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, settings_for, working

STEP = 0.2


@pytest.mark.parametrize("poison", [None, b"", b"garbage", b"[]", b"{}", b'{"f":"other","a":[],"k":{},"t":1,"et":1}'])
async def test_a_queue_entry_that_arq_cannot_read_is_mended_and_others_run_on(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, poison: bytes | None
) -> None:
    sweeping = settings_for(str(backend.settings.redis_url), sweep_interval=STEP)
    job_id = await backend.submit("demo-fast", age=60)
    if poison is None:
        await backend.redis.delete(backend.keys.arq_job(job_id))
    else:
        await backend.redis.set(backend.keys.arq_job(job_id), poison, px=60_000)
    async with demo_at(monkeypatch), working(sweeping) as one:
        assert (await backend.ended(await backend.submit("demo-fast")))[-1].type == "done"
        assert (await backend.ended(job_id))[-1].type == "done"
        assert not one.task.done()
        # The job was claimed while arq read, and was not lost.
        assert await command(backend.redis, "HGET", backend.keys.job(job_id), "lost") == b"0"


async def test_a_run_goes_on_though_redis_is_away_while_arq_reads_its_own_description(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model may have been called already: another attempt would cost money again."""

    def away(*_: Any, **__: Any) -> NoReturn:
        raise ConnectionError("away")

    async with demo_at(monkeypatch) as demo:
        async with working(settings) as one:
            monkeypatch.setattr(one.worker.pool, "pipeline", away)
            job_id = await backend.submit("demo-fast")
            assert (await backend.ended(job_id))[-1].type == "done"
            await until(lambda: not one.worker.tasks, "the worker to be idle")
            assert await command(backend.redis, "ZSCORE", backend.keys.queue, job_id) is None
        assert len(await demo.bodies()) == 1
        assert (await backend.record(job_id)).attempt == 1


async def test_a_job_of_another_schema_is_left_to_a_newer_worker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job uses up no attempt, and each sweep re-queues it until a worker knows the schema."""
    job_id = await backend.submit("demo-fast", age=60)
    await command(backend.redis, "HSET", backend.keys.job(job_id), "schema", 99)
    before = await command(backend.redis, "HGETALL", backend.keys.job(job_id))
    async with demo_at(monkeypatch), working(settings_for(str(backend.settings.redis_url), sweep_interval=STEP)):
        await until(lambda: "unknown schema" in caplog.text, "a look at it")
        assert await command(backend.redis, "HGETALL", backend.keys.job(job_id)) == before
        await command(backend.redis, "HSET", backend.keys.job(job_id), "schema", 1)
        assert (await backend.ended(job_id))[-1].type == "done"


async def test_what_a_newer_version_adds_to_a_job_is_nothing_to_a_worker(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown field of the hash, and unknown events of a newer worker's attempt."""
    job_id = await backend.submit("demo-fast")
    await command(backend.redis, "HSET", backend.keys.job(job_id), "a_field_of_next_year", "\x00{")
    await backend.log.claim(job_id, b"{}", "newer")
    await backend.log.append(job_id, 1, 3, [("citation", b'{"url":"u"}'), ("content", b'{"content":"x"}')])
    async with demo_at(monkeypatch), working(settings):
        events = await backend.ended(job_id, known=False)
    assert types(events)[:5] == ["queued", "started", "citation", "content", "restarted"]
    assert events[-1].type == "done"
    assert await command(backend.redis, "HGET", backend.keys.job(job_id), "a_field_of_next_year") == b"\x00{"


async def test_a_job_that_is_over_before_it_runs_again_keeps_what_a_newer_version_wrote(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that ends it reads the log of the attempt that was lost."""
    job_id = await backend.submit("demo-fast")
    await backend.log.claim(job_id, b"{}", "newer")
    await backend.log.append(job_id, 1, 3, [("citation", b'{"url":"u"}'), ("content", b'{"content":"x"}')])
    await backend.log.cancel(job_id, "client")
    async with demo_at(monkeypatch), working(settings):
        events = await backend.ended(job_id, known=False)
    assert types(events) == ["queued", "started", "citation", "content", "cancelled"]
    assert events[-1].fields()["content"] == "x"


async def test_an_id_in_the_queue_that_is_no_job_is_taken_out(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.queue.enqueue("no-such-job-at-all", 1)
    async with demo_at(monkeypatch), working(settings):
        await until(lambda: backend.is_closed("no-such-job-at-all"))


@pytest.mark.parametrize("request_", ["no JSON", "[]", '{"stream_options":"all"}'])
async def test_a_job_whose_request_cannot_be_read_fails_at_once_and_alone(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    """Otherwise each sweep would re-queue the job as a lost worker's, until its attempts are used up."""
    async with demo_at(monkeypatch), working(settings) as one:
        broken = await backend.write("demo-fast")
        await command(backend.redis, "HSET", backend.keys.job(broken), "request", request_)
        await backend.queue.enqueue(broken, 1)
        events = await backend.ended(broken)
        assert types(events) == ["queued", "started", "failed"]
        assert events[-1].fields()["error"]["code"] == "internal_error"
        assert (await backend.ended(await backend.submit("demo-fast")))[-1].type == "done"
        assert not one.task.done()


async def test_a_field_that_was_broken_by_hand_ends_no_worker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise every worker would end at its next sweep."""
    async with demo_at(monkeypatch), working(settings_for(str(backend.settings.redis_url), sweep_interval=0.1)) as one:
        broken = await backend.write("demo-fast", age=60)
        await command(backend.redis, "HSET", backend.keys.job(broken), "deadline", "tomorrow")
        await until(lambda: one.task.done() or "broken keys" in caplog.text, "a sweep that meets it")
        assert not one.task.done()
        lost = await backend.write("demo-fast", age=60)
        assert (await backend.ended(lost))[-1].type == "done"


async def test_a_key_that_was_broken_by_hand_ends_no_worker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with demo_at(monkeypatch), working(settings_for(str(backend.settings.redis_url), sweep_interval=0.1)):
        broken = await backend.write("demo-fast", age=60)
        await backend.index.refile(broken)
        await backend.redis.delete(backend.keys.job(broken))
        await backend.redis.set(backend.keys.job(broken), "by hand")
        await until(lambda: "broken keys" in caplog.text, "a sweep that meets it")
        assert (await backend.ended(await backend.submit("demo-fast")))[-1].type == "done"
        # The worker still runs after the repair.
        await backend.redis.delete(backend.keys.job(broken))
        lost = await backend.write("demo-fast", age=60)
        assert (await backend.ended(lost))[-1].type == "done"


@pytest.mark.parametrize("name", ["queue", "leases", "active", "presence"])
async def test_members_of_bytes_in_front_of_all_others_end_no_worker_and_hide_no_job(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One look does not read all of them."""
    key = getattr(backend.keys, name)
    strays = [b"\xff\xfe%d" % number for number in range(150)]
    await backend.redis.zadd(key, dict.fromkeys(strays, 0))
    async with demo_at(monkeypatch), working(settings_for(str(backend.settings.redis_url), sweep_interval=STEP)) as one:
        assert (await backend.ended(await backend.submit("demo-fast", age=60)))[-1].type == "done"
        await until(lambda: _is_clean(backend, key, strays), "the strays to be removed")
        assert not one.task.done()


async def _is_clean(backend: Backend, key: str, strays: list[bytes]) -> bool:
    return not set(strays).intersection(await backend.redis.zrange(key, 0, -1))
