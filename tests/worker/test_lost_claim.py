"""Redis comes back with its state before an attempt began: the writer, which has kept everything, restores it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from readalong.core.errors import Fenced
from readalong.core.events import Event
from readalong.store.log import AppendResult
from tests.readalong.helpers import command, state, types
from tests.readalong.jobs import OTHER_WORKER, WORKER
from tests.support.waiting import until
from tests.worker.helpers import Backend, check_order, demo_at, settings_for, text_of, working
from tests.worker.test_log_writer import DONE, RecordingWriter, say


async def known(backend: Backend, job_id: str) -> dict[str, bytes]:
    """Returns all that Redis has of a job."""
    names = backend.keys.of_job(job_id)[:3]
    dumps = [await backend.redis.dump(name) for name in names]
    return {name: dump for name, dump in zip(names, dumps, strict=True) if dump is not None}


async def forget(backend: Backend, job_id: str, but: dict[str, bytes]) -> None:
    """Sets the job in Redis back to an earlier state."""
    await backend.redis.delete(*backend.keys.of_job(job_id)[:3])
    for name, dump in but.items():
        await backend.redis.restore(name, 60_000, dump)


async def begun(backend: Backend, job_id: str, worker: bytes = WORKER, token: str = "first") -> RecordingWriter:
    return RecordingWriter(backend.log, job_id, await backend.log.claim(job_id, worker, token), outage=5)


@pytest.mark.parametrize("before", ["an append", "the end"])
async def test_a_claim_that_redis_lost_is_restored_with_all_that_it_wrote(backend: Backend, before: str) -> None:
    job_id = await backend.write()
    then = await known(backend, job_id)
    writer = await begun(backend, job_id)
    await writer.append(say("a", "b"))
    seen = await backend.events(job_id)
    await forget(backend, job_id, then)
    if before == "an append":
        assert await writer.append(say("c")) is None
    await writer.finish([*(say("c") if before == "the end" else []), *DONE], {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert events[: len(seen)] == seen, "the same numbers for the same events"
    assert (text_of(events), types(events)[-1]) == ("abc", "done")
    record = await backend.record(job_id)
    assert (record.status, record.attempt, record.worker) == ("done", 1, {"host": "h", "pid": 1, "id": "w1"})
    assert record.started_at is not None


async def test_a_claim_lost_before_the_first_token_is_restored_by_it(backend: Backend) -> None:
    job_id = await backend.write()
    then = await known(backend, job_id)
    writer = await begun(backend, job_id)
    seen = await backend.events(job_id)
    await forget(backend, job_id, then)
    await writer.append(say("a"))
    events = await backend.events(job_id)
    assert events[:2] == seen
    assert types(events) == ["queued", "started", "content"]


async def test_a_cancel_flag_that_redis_still_has_is_answered_with_the_restored_events(backend: Backend) -> None:
    job_id = await backend.write()
    then = await known(backend, job_id)
    writer = await begun(backend, job_id)
    await forget(backend, job_id, then)
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    assert await writer.append(say("a")) == "me"


async def test_a_later_attempt_keeps_its_numbers_though_the_events_before_it_are_lost(backend: Backend) -> None:
    """The restart had made their text void. Empty events replace them, which mislead no watcher."""
    job_id = await backend.write()
    dead = await begun(backend, job_id)
    await dead.append(say("x"))
    then = await known(backend, job_id)
    await dead.append(say("y"))
    await dead.append(say("z"))
    heir = await begun(backend, job_id, OTHER_WORKER, "second")
    await heir.append(say("a"))
    seen = await backend.events(job_id)
    await forget(backend, job_id, then)
    await heir.append(say("b"))
    await heir.finish(DONE, {"metrics": b"{}"})
    events = await backend.events(job_id)
    check_order(events)
    assert events[:3] + events[5:7] == seen[:3] + seen[5:7]
    assert [event.fields()["content"] for event in events[3:5]] == ["", ""]
    assert (text_of(events), (await backend.record(job_id)).attempt) == ("ab", 2)


async def test_two_attempts_that_bear_one_number_after_a_loss_do_not_mix(backend: Backend) -> None:
    """Another worker took the job before the first one was back: its claim is the one that Redis knows."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    first = await begun(backend, job_id)
    await first.append(say("a", "b", "c"))
    await forget(backend, job_id, then)
    other = await begun(backend, job_id, OTHER_WORKER, "second")
    await other.append(say("A"))
    for write in (first.append(say("d")), first.finish(DONE, {"metrics": b"{}"})):
        with pytest.raises(Fenced) as caught:
            await write
        assert caught.value.code == "fenced"
    await other.append(say("B"))
    await other.finish(DONE, {"metrics": b"{}"})
    assert text_of(await backend.events(job_id)) == "AB"


async def test_of_two_ends_that_bear_one_number_the_lost_one_is_not_stored_over_the_other(backend: Backend) -> None:
    """The first worker's end was lost with its claim before it stored its log in few entries."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    first = await begun(backend, job_id)
    await first.append(say("a"))
    await first.append(say("b"))
    await first.finish(DONE, {"metrics": b"{}"})
    await forget(backend, job_id, then)
    other = await begun(backend, job_id, OTHER_WORKER, "second")
    await other.append(say("A"))
    await other.append(say("B"))
    await other.finish(DONE, {"metrics": b"{}"})
    await first.compact()
    assert text_of(await backend.events(job_id)) == "AB"
    await other.compact()
    assert await command(backend.redis, "XLEN", backend.keys.events(job_id)) == 4
    assert text_of(await backend.events(job_id)) == "AB"


async def test_a_restored_claim_is_fenced_out_by_the_next_one(backend: Backend) -> None:
    """The queue has forgotten the lease too, so another worker may take the job right after."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    writer = await begun(backend, job_id)
    await forget(backend, job_id, then)
    await writer.append(say("a"))
    heir = await begun(backend, job_id, OTHER_WORKER, "second")
    with pytest.raises(Fenced):
        await writer.append(say("b"))
    await heir.finish([*say("c"), *DONE], {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert types(events) == ["queued", "started", "content", "restarted", "content", "done"]
    assert text_of(events) == "c"


@pytest.mark.parametrize("write", ["append", "finish", "restore"])
async def test_a_claim_is_not_restored_over_what_an_older_attempt_wrote_since(backend: Backend, write: str) -> None:
    """A worker was cut off, and another took its job. Then Redis lost that claim, and the first worker was back
    before the second had noticed. The numbers now belong to the first worker's events: the second would take those
    for its own."""
    job_id = await backend.write()
    first = await begun(backend, job_id)
    await first.append(say("x"))
    then = await known(backend, job_id)
    claim = await backend.log.claim(job_id, OTHER_WORKER, "second")
    heir = RecordingWriter(backend.log, job_id, claim, outage=5)
    await heir.append(say("a", "b", "c"))
    await forget(backend, job_id, then)
    await first.append(say("y", "z"))
    before = await state(backend.redis, backend.keys, job_id)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "append": lambda: heir.append(say("d")),
        "finish": lambda: heir.finish(DONE, {"metrics": b"{}"}),
        "restore": lambda: backend.log.reclaim(job_id, claim),
    }
    with pytest.raises(Fenced) as caught:
        await calls[write]()
    assert caught.value.code == "fenced"
    assert await state(backend.redis, backend.keys, job_id) == before
    await first.finish(DONE, {"metrics": b"{}"})
    assert text_of(await backend.events(job_id)) == "xyz"


async def test_to_restore_twice_is_to_restore_once(backend: Backend) -> None:
    """A repeat follows a lost reply."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    claim = await backend.log.claim(job_id, WORKER, "first")
    await forget(backend, job_id, then)
    first = await backend.log.reclaim(job_id, claim)
    before = await state(backend.redis, backend.keys, job_id)
    assert await backend.log.reclaim(job_id, claim) == first == ("gap", 1, None)
    assert await state(backend.redis, backend.keys, job_id) == before


async def test_a_job_that_was_cancelled_meanwhile_stays_so(backend: Backend) -> None:
    """The loss made it a queued job again, and a cancel ended it there."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    claim = await backend.log.claim(job_id, WORKER, "first")
    writer = RecordingWriter(backend.log, job_id, claim, outage=5)
    await forget(backend, job_id, then)
    await backend.log.cancel(job_id, "client")
    before = await state(backend.redis, backend.keys, job_id)
    for write in (writer.append(say("a")), backend.log.reclaim(job_id, claim)):
        with pytest.raises(Fenced):
            await write
    assert await state(backend.redis, backend.keys, job_id) == before


@pytest.mark.parametrize("write", ["append", "finish", "restore"])
async def test_a_job_that_redis_lost_altogether_is_gone_for_its_writer(backend: Backend, write: str) -> None:
    """Only the client still has the request. The writer stops, and does not write half a job."""
    job_id = await backend.write()
    claim = await backend.log.claim(job_id, WORKER, "first")
    writer = RecordingWriter(backend.log, job_id, claim, outage=5)
    await writer.append(say("a"))
    await forget(backend, job_id, {})
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "append": lambda: writer.append(say("b")),
        "finish": lambda: writer.finish(DONE, {}),
        "restore": lambda: backend.log.reclaim(job_id, claim),
    }
    with pytest.raises(Fenced) as caught:
        await calls[write]()
    assert caught.value.code == "gone"
    assert not await known(backend, job_id)


async def test_a_lost_claim_that_was_to_end_a_job_for_another_is_left_to_the_next_one(backend: Backend) -> None:
    """The claim wrote no event. The next claim finds the same state and ends the job."""
    job_id = await backend.write()
    await begun(backend, job_id)
    then = await known(backend, job_id)
    await backend.redis.set(backend.keys.cancel(job_id), "me")
    closing = await begun(backend, job_id, OTHER_WORKER, "second")
    await forget(backend, job_id, then)
    with pytest.raises(Fenced):
        await closing.finish(DONE, {"metrics": b"{}"})
    assert types(await backend.events(job_id)) == ["queued", "started"]


async def test_to_hand_over_a_lost_claim_leaves_the_job_as_it_is(backend: Backend) -> None:
    """It already waits in the queue again."""
    job_id = await backend.write()
    then = await known(backend, job_id)
    claim = await backend.log.claim(job_id, WORKER, "first")
    await forget(backend, job_id, then)
    before = await state(backend.redis, backend.keys, job_id)
    await backend.log.requeue(job_id, claim.fence, "worker_stopped", counts=False)
    assert await state(backend.redis, backend.keys, job_id) == before


async def test_a_job_whose_end_redis_loses_while_its_worker_lets_go_of_it_is_run_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker removes it from the queue all the same. The reconciler finds it in the list of active jobs."""
    async with demo_at(monkeypatch), working(settings_for(str(backend.settings.redis_url), sweep_interval=0.1)) as one:
        refile, finish = one.worker._index.refile, one.worker._log.finish
        then: dict[str, bytes] = {}
        finished = asyncio.Event()

        async def finish_and_remember(job_id: str, *given: Any) -> AppendResult:
            then.update(await known(backend, job_id))
            result = await finish(job_id, *given)
            finished.set()
            return result

        async def forget_and_refile(*job_ids: str) -> Any:
            if finished.is_set() and job_ids:  # else the reconciler refiles it while it runs, on a busy machine
                monkeypatch.setattr(one.worker._index, "refile", refile)  # first: it may come at the same time
                for job_id in job_ids:
                    await forget(backend, job_id, then)
            return await refile(*job_ids)

        monkeypatch.setattr(one.worker._index, "refile", forget_and_refile)
        monkeypatch.setattr(one.worker._log, "finish", finish_and_remember)
        job_id = await backend.submit("demo-fast", age=60)
        events = await until(lambda: ended_twice(backend, job_id), "the second attempt's end")
    assert types(events)[-1] == "done"
    assert (await backend.record(job_id)).attempt == 2


async def ended_twice(backend: Backend, job_id: str) -> list[Event] | None:
    events = await backend.events(job_id)
    return events if "restarted" in types(events) and events[-1].terminal else None
