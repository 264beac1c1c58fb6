"""An attempt's writes: lost replies, lost events, outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from readalong.core.errors import Fenced, StoreUnavailable
from readalong.core.events import Event, NewEvent
from readalong.redis.facade import Argument, RedisFacade
from readalong.store.log import AppendResult, Claim, Fence, Log
from readalong.worker.log_writer import Cancelled, LogWriter
from tests.readalong.helpers import command, types
from tests.readalong.jobs import WORKER
from tests.support.waiting import until
from tests.worker.helpers import Backend, text_of

T = TypeVar("T")
Trouble = Callable[[int], str | None]
DONE = [NewEvent("done", {"content": "", "metrics": {}})]


class Flaky(Log):
    """A log whose calls fail "before" or "after" they take effect, by `trouble` of the call's number from 0."""

    def __init__(self, backend: Backend, trouble: Trouble) -> None:
        super().__init__(RedisFacade(backend.redis, backend.settings), backend.settings)
        self._trouble = trouble
        self.calls = 0

    async def append(self, job_id: str, fence: Fence, first: int, drafts: Sequence[tuple[str, bytes]]) -> AppendResult:
        how = self._how()
        answer = await super().append(job_id, fence, first, drafts)
        return self._lost(how, answer)

    async def finish(
        self,
        job_id: str,
        fence: Fence,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        fields: dict[str, Argument],
    ) -> AppendResult:
        how = self._how()
        answer = await super().finish(job_id, fence, first, drafts, fields)
        return self._lost(how, answer)

    async def compact(self, job_id: str, fence: Fence, first: int, events: Sequence[Event]) -> bool:
        how = self._how()
        answer = await super().compact(job_id, fence, first, events)
        return self._lost(how, answer)

    def _how(self) -> str | None:
        how = self._trouble(self.calls)
        self.calls += 1
        if how == "before":
            raise StoreUnavailable("away")
        return how

    def _lost(self, how: str | None, answer: T) -> T:
        if how == "after":
            raise StoreUnavailable("the reply was lost")
        return answer


@pytest.fixture(autouse=True)
def _unmerged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks of one append stay events of their own, so that an append has several."""
    monkeypatch.setattr("readalong.worker.log_writer.merge_drafts", lambda drafts: drafts)


class RecordingWriter(LogWriter):
    """A writer whose `append` raises its failure."""

    def __init__(self, log: Log, job_id: str, claim: Claim, outage: float) -> None:
        self.trouble: Exception | None = None
        super().__init__(log, job_id, claim, outage, self._note)

    async def append(self, drafts: list[NewEvent]) -> str | None:
        """Appends, and returns the flag."""
        self.add(drafts, 1)
        await until(lambda: self.trouble is not None or not self.busy)
        if isinstance(self.trouble, Cancelled):
            return str(self.trouble)
        if self.trouble is not None:
            raise self.trouble
        return None

    def _note(self, error: Exception) -> None:
        assert self.trouble is None
        self.trouble = error


def always(how: str) -> Trouble:
    return lambda _: how


def first(count: int, how: str) -> Trouble:
    return lambda call: how if call < count else None


async def started(
    backend: Backend, trouble: Trouble | None = None, outage: float = 5
) -> tuple[str, RecordingWriter, Flaky]:
    """A running job with two events, and the writer of its first attempt."""
    job_id = await backend.write()
    claim = await backend.log.claim(job_id, WORKER, "token")
    log = Flaky(backend, trouble or (lambda _: None))
    return job_id, RecordingWriter(log, job_id, claim, outage), log


def say(*texts: str) -> list[NewEvent]:
    return [NewEvent("content", {"content": text}) for text in texts]


async def test_appends_go_to_the_log_and_answer_the_flag(backend: Backend) -> None:
    job_id, writer, log = await started(backend)
    assert await writer.append(say("a", "b")) is None
    await backend.redis.set(backend.keys.cancel(job_id), "")
    assert await writer.append(say("c")) == ""
    await writer.finish([*say("d"), *DONE], {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert types(events) == ["queued", "started", "content", "content", "content", "content", "done"]
    assert (text_of(events), log.calls) == ("abcd", 3)


@pytest.mark.parametrize(("every", "timed"), [(3600.0, [True, False, False]), (0.0, [True, True, True])])
async def test_not_each_append_notes_its_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, every: float, timed: list[bool]
) -> None:
    """Recording it costs Redis a seventh of an append."""
    monkeypatch.setattr("readalong.worker.log_writer._TIMED_EVERY", every)
    _, writer, log = await started(backend)
    seen: list[bool] = []

    def send(*_: object, timed: bool, progress: bytes) -> bool:
        seen.append(timed)
        return False

    monkeypatch.setattr(log, "send", send)
    for text in "abc":
        await writer.append(say(text))
    assert seen == timed


@pytest.mark.parametrize("how", ["before", "after"])
async def test_an_append_whose_reply_is_lost_is_repeated_and_written_once(backend: Backend, how: str) -> None:
    job_id, writer, log = await started(backend, first(2, how))
    assert await writer.append(say("a", "b")) is None
    assert await writer.append(say("c")) is None
    events = await backend.events(job_id)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert (text_of(events), log.calls) == ("abc", 4)


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_finish_whose_reply_is_lost_is_repeated_and_ends_the_job_once(backend: Backend, how: str) -> None:
    job_id, writer, _ = await started(backend, first(2, how))
    await writer.finish([*say("a"), *DONE], {"metrics": b"{}", "finish_reason": "stop"})
    assert types(await backend.events(job_id)) == ["queued", "started", "content", "done"]
    record = await backend.record(job_id)
    assert (record.status, record.last_seq, record.finish_reason) == ("done", 4, "stop")


async def roll_back(backend: Backend, job_id: str, last_seq: int) -> None:
    """Sets the log back to a replica's that had not received the events after `last_seq`."""
    events = await backend.log.read(job_id, 0, last_seq)
    await backend.redis.delete(backend.keys.events(job_id))
    for event in events:
        await backend.redis.xadd(
            backend.keys.events(job_id), {"type": event.type, "data": event.data}, f"{event.seq}-0"
        )
    await command(backend.redis, "HSET", backend.keys.job(job_id), "last_seq", last_seq)


@pytest.mark.parametrize("kept", [2, 3, 4, 5])
async def test_events_that_redis_lost_are_sent_again_before_the_next_append(backend: Backend, kept: int) -> None:
    job_id, writer, _ = await started(backend)
    await writer.append(say("a"))
    await writer.append(say("b", "c"))
    await roll_back(backend, job_id, kept)
    assert await writer.append(say("d")) is None
    events = await backend.events(job_id)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert text_of(events) == "abcd"


@pytest.mark.parametrize("kept", [2, 4])
async def test_events_that_redis_lost_are_sent_again_before_the_end(backend: Backend, kept: int) -> None:
    job_id, writer, _ = await started(backend)
    await writer.append(say("a", "b"))
    await roll_back(backend, job_id, kept)
    await writer.finish([*say("c"), *DONE], {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert (text_of(events), events[-1].type) == ("abc", "done")
    assert (await backend.record(job_id)).status == "done"


async def test_a_tail_lost_twice_and_replies_lost_between_still_give_each_event_once(backend: Backend) -> None:
    job_id, writer, _ = await started(backend, lambda call: ("after", None, "before")[call % 3])
    for turn, kept in enumerate((3, 4, 2, 6)):
        await writer.append(say(str(turn)))
        await roll_back(backend, job_id, min(kept, turn + 3))
    await writer.finish(DONE, {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert [event.seq for event in events] == list(range(1, 8))
    assert text_of(events) == "0123"


async def test_an_outage_within_the_limit_is_waited_out(backend: Backend) -> None:
    job_id, writer, log = await started(backend, first(4, "before"), outage=30)
    assert await writer.append(say("a")) is None
    assert (text_of(await backend.events(job_id)), log.calls) == ("a", 5)


async def test_an_outage_beyond_the_limit_is_told(backend: Backend) -> None:
    _, writer, log = await started(backend, always("before"), outage=0.2)
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable):
        await writer.append(say("a"))
    assert 0.2 <= asyncio.get_running_loop().time() - began < 10
    assert log.calls >= 3


async def test_no_outage_at_all_is_waited_out_if_the_limit_is_0(backend: Backend) -> None:
    _, writer, log = await started(backend, always("before"), outage=0)
    with pytest.raises(StoreUnavailable):
        await writer.append(say("a"))
    assert log.calls == 1


async def test_what_an_outage_kept_from_the_log_goes_with_the_end(backend: Backend) -> None:
    job_id, writer, _ = await started(backend, first(1, "before"), outage=0)
    with pytest.raises(StoreUnavailable):
        await writer.append(say("a"))
    await writer.finish([NewEvent("failed", {"error": {}})], {"metrics": b"{}"})
    events = await backend.events(job_id)
    assert (types(events)[2:], text_of(events)) == (["content", "failed"], "a")


async def test_the_end_waits_for_redis_longer_than_any_limit(backend: Backend) -> None:
    away = True
    job_id, writer, log = await started(backend, lambda _: "before" if away else None, outage=0)
    task = asyncio.create_task(writer.finish(DONE, {"metrics": b"{}"}))
    await until(lambda: log.calls >= 4)
    assert not task.done()
    away = False
    await task
    assert (await backend.record(job_id)).status == "done"


async def test_a_newer_attempt_fences_the_older_one_out(backend: Backend) -> None:
    job_id, writer, _ = await started(backend)
    await backend.log.claim(job_id, WORKER, "another token")
    before = types(await backend.events(job_id))
    for write in (writer.append(say("a")), writer.finish(DONE, {})):
        with pytest.raises(Fenced) as caught:
            await write
        assert caught.value.code == "fenced"
    assert types(await backend.events(job_id)) == before == ["queued", "started", "restarted"]


async def test_an_erased_job_is_gone(backend: Backend) -> None:
    job_id, writer, _ = await started(backend)
    await backend.log.delete(job_id)
    with pytest.raises(Fenced) as caught:
        await writer.append(say("a"))
    assert caught.value.code == "gone"
    assert not await backend.redis.exists(*backend.keys.of_job(job_id)[:2])


async def test_an_ended_log_is_compacted_and_reads_the_same(backend: Backend) -> None:
    job_id, writer, _ = await started(backend)
    await writer.append(say("a", "b"))
    await writer.append(say("c"))
    await writer.finish(end := [NewEvent("done", {"content": "abc"})], {})
    before = await backend.events(job_id)
    await writer.compact()
    assert await backend.redis.xlen(backend.keys.events(job_id)) == 4
    assert await backend.events(job_id) == before
    assert before[-1].data == end[0].encode()


async def test_a_repaired_log_is_compacted_from_the_events_that_the_writer_kept(backend: Backend) -> None:
    job_id, writer, _ = await started(backend)
    await writer.append(say("a", "b", "c"))
    await roll_back(backend, job_id, 3)
    await writer.finish(DONE, {})
    await writer.compact()
    assert await backend.redis.xlen(backend.keys.events(job_id)) == 4
    assert text_of(await backend.events(job_id)) == "abc"


async def test_a_log_without_neighbours_to_join_is_not_rewritten(backend: Backend) -> None:
    _, writer, log = await started(backend)
    await writer.append(say("a"))
    await writer.finish(DONE, {})
    await writer.compact()
    assert log.calls == 2


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_redis_that_is_away_when_the_log_would_be_compacted_is_not_waited_for(
    backend: Backend, how: str
) -> None:
    """The job has ended; its log is as valid as it was."""
    job_id, writer, log = await started(backend, lambda call: how if call == 2 else None)
    await writer.append(say("a", "b"))
    await writer.finish(DONE, {})
    await writer.compact()
    assert log.calls == 3
    assert await backend.redis.xlen(backend.keys.events(job_id)) == (5 if how == "before" else 4)
    assert text_of(await backend.events(job_id)) == "ab"


@pytest.mark.parametrize("limit", ["_MOST", "_MOST_BEFORE"])
async def test_a_log_too_long_for_one_script_call_stays_as_it_is(
    backend: Backend, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis serves no other client while it rewrites one."""
    _, writer, log = await started(backend)
    await writer.append(say("a", "b"))
    await writer.finish(DONE, {})
    with monkeypatch.context() as patch:
        patch.setattr(f"readalong.worker.log_writer.{limit}", 0)
        await writer.compact()
        assert log.calls == 2
    await writer.compact()
    assert log.calls == 3
