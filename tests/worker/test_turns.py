"""The turns of threads with real workers, and each state that a crash between two steps leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from readalong.core.errors import JobNotFound, ThreadBusy
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.core.thread_entries import Entry, compose, entries_of
from readalong.store import turns as turns_module
from readalong.store.job_record import Record
from readalong.store.submission import Submission
from readalong.store.threads import ThreadRef, Turn
from readalong.worker import reconciler as reconciler_module
from readalong.worker.reconciler import Reconciler
from tests.readalong.helpers import command, types
from tests.readalong.jobs import WORKER, end
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, settings_for, text_of, working

REF = ThreadRef.of("t", {})


def asks(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


class Submit:
    """A submit of a turn, step by step, as `Submitter` takes them."""

    def __init__(self, backend: Backend, text: str, policy: Any = "enqueue", **body: Any) -> None:
        self.backend = backend
        self.id = new_job_id()
        self.turn = Turn(entries_of([asks(text)]), "t", policy)
        demo = {"tokens_per_second": 0, "first_token_seconds": 0, "tokens": 5, **body.pop("demo", {})}
        self.body = {"messages": [asks(text)], "model": "demo", "demo": demo, **body}
        self.created_at = 0

    async def begin(self) -> None:
        ref, begun = await self.backend.turns.begin(self.id, self.turn, {})
        assert ref == REF
        self.created_at = begun.created_at

    async def write(self) -> Record:
        new = Submission(self.id, "demo", orjson.dumps(self.body), b"{}", "digest", self.created_at, thread=REF)
        _, record = await self.backend.log.submit(new)
        return record

    async def all(self) -> str:
        await self.begin()
        await self.backend.turns.written(await self.write())
        return self.id


async def play(backend: Backend, job_id: str, text: str = "said", kind: str = "done") -> None:
    """A worker's attempt up to the job's end, and not a step further."""
    claim = await backend.log.claim(job_id, WORKER, "t")
    last = [("content", orjson.dumps({"content": text})), *end(kind)]
    last[-1] = (kind, orjson.dumps({"content": text}))
    await backend.log.finish(job_id, claim.fence, claim.last_seq + 1, last, {})


async def play_unsettled(backend: Backend, job_id: str) -> None:
    """A worker's attempt up to the queue, which the job leaves; its thread does not have the end yet."""
    await play(backend, job_id)
    await backend.queue.remove(job_id)


async def two_turns(backend: Backend) -> tuple[Submit, Submit]:
    """Returns a turn that may run, and one that waits for it."""
    one, waits = Submit(backend, "a"), Submit(backend, "b")
    await one.all()
    await waits.all()
    return one, waits


async def history(backend: Backend) -> list[Any]:
    return [message.get("content") for message in compose(await backend.threads.entries(REF))]


async def queued(backend: Backend) -> list[str]:
    return [each.decode() for each in await command(backend.redis, "ZRANGE", backend.keys.queue, 0, -1)]


@pytest.fixture
def sweep(backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    """A sweep that leaves no submit time to complete."""
    monkeypatch.setattr(turns_module, "GRACE_MS", 0)
    monkeypatch.setattr(reconciler_module, "_GRACE_MS", 0)

    async def no_end(job_id: str) -> None:
        raise AssertionError(job_id)

    fast = settings.model_copy(update={"sweep_interval": 0.001})
    return Reconciler(backend.log, backend.index, backend.queue, fast, no_end, turns=backend.turns)


async def swept(backend: Backend, sweep: Reconciler) -> None:
    await command(backend.redis, "DEL", backend.keys.sweep)
    await sweep.turn()


async def test_each_enqueued_turn_sees_the_answers_before_it(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch) as demo, working(settings), working(settings, "w2"):
        jobs = await asyncio.gather(*(Submit(backend, f"q{n}").all() for n in range(6)))
        logs = {job_id: await backend.ended(job_id) for job_id in jobs}
        assert all(events[-1].type == "done" for events in logs.values())
        order = [
            each.decode()
            for each in await command(backend.redis, "ZRANGE", backend.keys.thread_jobs(REF.digest), 0, -1)
        ]
        bodies = await demo.bodies()
    assert len(bodies) == 6
    assert [len(body["messages"]) for body in bodies] == [1, 3, 5, 7, 9, 11]
    assert sorted(order) == sorted(jobs)
    said = [message["content"] for message in bodies[-1]["messages"]]
    asked = [body["messages"][-1]["content"] for body in bodies]
    assert said[::2] == asked
    texts = {text_of(events) for events in logs.values()}
    assert set(said[1::2]) <= texts
    assert (await history(backend))[:-1] == said
    assert not any("thread" in body for body in bodies)


@pytest.mark.parametrize(("policy", "kept"), [("interrupt", True), ("rollback", False)])
async def test_a_turn_ends_the_one_that_streams(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, policy: str, *, kept: bool
) -> None:
    async with demo_at(monkeypatch) as demo, working(settings):
        slow = Submit(backend, "first", demo={"tokens_per_second": 50, "tokens": 100_000})
        await slow.all()
        await backend.has(slow.id, "content", 3)
        next_one = await Submit(backend, "second", policy).all()
        events = await backend.ended(slow.id)
        assert (events[-1].type, events[-1].fields()["by"]) == ("cancelled", "thread")
        assert types(await backend.ended(next_one))[-1] == "done"
        messages = (await demo.bodies())[-1]["messages"]
    before = [asks("first"), {"role": "assistant", "content": text_of(events)}] if kept else []
    assert messages == [*before, asks("second")]


async def test_instructions_stand_before_the_history(backend: Backend, settings: Settings) -> None:
    await backend.threads.create(REF, {}, entries_of([asks("old"), {"role": "assistant", "content": "answer"}]))
    one = Submit(backend, "new")
    await one.begin()
    request = orjson.dumps({"messages": [{"role": "system", "content": "be kind"}, asks("new")]})
    composed = await backend.turns.compose(one.id, REF.digest, request, 1)
    assert composed is not None
    said = [message["content"] for message in orjson.loads(composed)["messages"]]
    assert said == ["be kind", "old", "answer", "new"]


async def test_a_turn_whose_job_was_never_written_is_ended_by_the_next_turn(
    backend: Backend, sweep: Reconciler
) -> None:
    dead = Submit(backend, "dead")
    await dead.begin()
    one = Submit(backend, "alive", "reject")
    await one.all()
    assert await queued(backend) == [one.id]
    await play(backend, one.id)
    await backend.turns.settle(one.id)
    assert await history(backend) == ["alive", "said"]


async def test_a_turn_whose_job_was_never_written_is_ended_by_the_sweep(
    backend: Backend, sweep: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "GRACE_MS", 60_000)
    dead = Submit(backend, "dead")
    await dead.begin()
    with pytest.raises(ThreadBusy):  # its submit may be under way
        await Submit(backend, "b", "reject").all()
    one = Submit(backend, "alive")
    await one.all()
    await swept(backend, sweep)
    assert await queued(backend) == []
    monkeypatch.setattr(turns_module, "GRACE_MS", 0)
    await swept(backend, sweep)
    await swept(backend, sweep)
    assert await queued(backend) == [one.id]
    # The submit was only slow: its turn begins again, by its policy.
    with pytest.raises(ThreadBusy):
        await backend.turns.written(await dead.write(), "reject")
    assert (await backend.record(dead.id)).status == "cancelled"
    late = Submit(backend, "late")
    await backend.turns.written(await late.write())
    assert await queued(backend) == [one.id]
    await play_unsettled(backend, one.id)
    await backend.turns.settle(one.id)
    assert await queued(backend) == [late.id]


async def test_a_job_that_was_written_and_not_queued_is_queued_by_the_sweep(
    backend: Backend, sweep: Reconciler
) -> None:
    one, waits = Submit(backend, "a"), Submit(backend, "b")
    for each in (one, waits):
        await each.begin()
        await each.write()
    await backend.index.refile(one.id, waits.id)
    await swept(backend, sweep)
    assert await queued(backend) == [one.id]


@pytest.mark.parametrize("by", ["turn", "sweep"])
async def test_an_end_that_was_not_recorded_is_recorded_once(backend: Backend, sweep: Reconciler, by: str) -> None:
    """The worker died between the job's end and the thread."""
    one, waits = await two_turns(backend)
    await play_unsettled(backend, one.id)
    await backend.index.refile(one.id)
    if by == "turn":
        await Submit(backend, "c").all()
    else:
        await swept(backend, sweep)
    assert await history(backend) == ["a", "said"]
    assert await queued(backend) == [waits.id]
    for _ in range(2):
        await backend.turns.settle(one.id)
        await swept(backend, sweep)
    assert await history(backend) == ["a", "said"]
    assert one.id not in {cursor.job_id for cursor in await backend.index.open_jobs(None, 100)}


async def test_the_newest_turn_is_recorded_by_the_sweep_though_none_follows(
    backend: Backend, sweep: Reconciler
) -> None:
    """The job has ended and left the queue; what it has not left is the list of open jobs."""
    one = Submit(backend, "a")
    await one.all()
    await play_unsettled(backend, one.id)
    await backend.index.refile(one.id)
    await swept(backend, sweep)
    assert await history(backend) == ["a", "said"]
    assert await backend.threads.running(REF) is None


async def test_a_turn_that_was_recorded_and_whose_next_was_not_queued_is_mended_by_the_sweep(
    backend: Backend, sweep: Reconciler
) -> None:
    """The worker died between the thread and the queue."""
    one, waits = await two_turns(backend)
    await play_unsettled(backend, one.id)
    assert await backend.threads.end(REF, one.id, entries_of([asks("x")]), keep=True) == waits.id
    assert await queued(backend) == []
    await swept(backend, sweep)
    assert await queued(backend) == [waits.id]
    assert await history(backend) == ["a", "x"]


async def test_a_turn_that_was_to_be_interrupted_is_cancelled_by_the_sweep(backend: Backend, sweep: Reconciler) -> None:
    """The API died between the thread and the cancel."""
    one, waits = await two_turns(backend)
    claim = await backend.log.claim(one.id, WORKER, "t")
    await backend.threads.begin(REF, new_job_id(), Turn(entries_of([asks("c")]), "t", "rollback"))
    await swept(backend, sweep)
    assert await backend.log.flags([one.id])
    assert (await backend.record(waits.id)).status == "cancelled"
    await backend.log.finish(one.id, claim.fence, claim.last_seq + 1, end("cancelled"), {})
    await swept(backend, sweep)
    assert await history(backend) == []


async def test_a_release_and_a_submit_that_cross_queue_the_job_once(backend: Backend) -> None:
    """The turn before ends between the new turn's beginning and its job's writing."""
    one, waits = Submit(backend, "a"), Submit(backend, "b")
    await one.all()
    await waits.begin()
    await play_unsettled(backend, one.id)
    await backend.turns.settle(one.id)
    assert await queued(backend) == []  # a job that is not written would be dropped from the queue
    await backend.turns.written(await waits.write())
    assert await queued(backend) == [waits.id]


async def test_a_waiting_turn_that_is_cancelled_lets_those_behind_it_run(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_at(monkeypatch), working(settings):
        slow = Submit(backend, "a", demo={"tokens_per_second": 20, "tokens": 30})
        await slow.all()
        waits, last = Submit(backend, "b"), Submit(backend, "c")
        await waits.all()
        await last.all()
        await backend.log.cancel(waits.id, "client")
        await backend.turns.settle(waits.id)
        assert types(await backend.ended(last.id))[-1] == "done"
    said = await history(backend)
    assert [said[0], said[2], said[3]] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
async def test_what_an_end_leaves_in_the_thread(backend: Backend, kind: str) -> None:
    one = Submit(backend, "a")
    await one.all()
    await play(backend, one.id, kind=kind)
    await backend.turns.settle(one.id)
    assert await history(backend) == ([] if kind == "failed" else ["a", "said"])
    [*_, last] = await backend.threads.entries(REF) or [Entry("", None)]
    assert last.id == ("" if kind == "failed" else f"msg_{one.id}")


async def test_an_answer_that_is_a_refusal_alone_is_in_the_history(backend: Backend) -> None:
    """The end does not repeat a refusal."""
    one = Submit(backend, "a")
    await one.all()
    claim = await backend.log.claim(one.id, WORKER, "t")
    said = [("refusal", b'{"content":"no"}'), ("done", b'{"content":""}')]
    await backend.log.finish(one.id, claim.fence, claim.last_seq + 1, said, {})
    await backend.turns.settle(one.id)
    assert [message.get("refusal") for message in compose(await backend.threads.entries(REF))] == [None, "no"]


async def test_turns_that_wait_and_are_interrupted_are_listed_as_cancelled_at_once(backend: Backend) -> None:
    jobs = {turn.id for turn in await two_turns(backend)}
    await Submit(backend, "c", "interrupt").begin()
    assert {found.job_id for found in await backend.index.page(None, 10, state="cancelled")} == jobs
    assert await backend.index.open_jobs(None, 10) == []


async def test_a_turn_after_an_older_one_begins_a_thread_of_its_own(backend: Backend) -> None:
    first, second = Submit(backend, "a"), Submit(backend, "b")
    for each in (first, second):
        await each.all()
        await play(backend, each.id, f"to {each.id}")
        await backend.turns.settle(each.id)
    again = Submit(backend, "c")
    again.turn = Turn(again.turn.entries, parent=first.id)
    for _ in range(2):  # the first reply may be lost
        ref, begun = await backend.turns.begin(again.id, again.turn, {})
        assert (ref.id, begun.place) == (f"conv_{again.id}", "run")
    entries = await backend.threads.entries(ref)
    assert [(entry.message or {})["content"] for entry in entries] == ["a", f"to {first.id}"]
    newest, _ = await backend.turns.begin(new_job_id(), Turn(entries_of([asks("d")]), parent=second.id), {})
    assert newest == REF


async def test_a_turn_follows_no_job_that_is_not_there_or_not_the_callers(backend: Backend) -> None:
    first = Submit(backend, "a")
    await first.all()
    alone = await backend.write()
    for parent, pairs in ((new_job_id(), {}), (alone, {}), (first.id, {"owner": "bob"})):
        with pytest.raises(JobNotFound):
            await backend.turns.begin(new_job_id(), Turn(entries_of([asks("b")]), parent=parent), pairs)


async def test_two_turns_after_one_that_runs_are_one_thread_and_a_refusal(backend: Backend) -> None:
    first = Submit(backend, "a")
    await first.all()
    turn = Turn(entries_of([asks("b")]), policy="enqueue", parent=first.id)
    _, begun = await backend.turns.begin(new_job_id(), turn, {})
    assert begun.place == "wait"
    with pytest.raises(ThreadBusy):
        await backend.turns.begin(new_job_id(), Turn(entries_of([asks("c")]), policy="enqueue", parent=first.id), {})


async def test_a_lost_worker_does_not_lose_the_turn(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt is asked with the same messages, and its answer alone is recorded."""
    await backend.threads.create(REF, {}, entries_of([asks("old")]))
    quick = settings_for(str(settings.redis_url), lease=0.5)
    one = Submit(backend, "a", demo={"tokens": 8})
    await one.all()
    await backend.queue.acquire("dead", 1)
    claim = await backend.log.claim(one.id, WORKER, "t")
    await backend.log.append(one.id, claim.fence, 3, [("content", b'{"content":"void"}')])
    async with demo_at(monkeypatch) as demo, working(quick):
        events = await backend.ended(one.id)
        assert "restarted" in types(events)
        [body] = await demo.bodies()
    assert [message["content"] for message in body["messages"]] == ["old", "a"]
    assert await until(lambda: history(backend)) == ["old", "a", text_of(events)]
