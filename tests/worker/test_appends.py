"""Appends in flight: events that wait behind one, and the effect of its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from redis.exceptions import ConnectionError

from readalong.core.errors import Fenced, StoreUnavailable
from readalong.core.events import NewEvent
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.redis.multiplexed import MultiplexedConnection
from readalong.store.log import AppendResult, Claim, ClaimStatus, Log
from readalong.worker.log_writer import Cancelled, LogWriter
from tests.readalong.jobs import WORKER
from tests.support.waiting import until
from tests.worker.helpers import Backend, text_of

OnAnswer = Callable[[AppendResult | Exception], None]


class SlowLog:
    """Replies to `send` when the test says so, and to `append` at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[str]]] = []
        self.again: list[tuple[int, list[str]]] = []
        self.finished: list[tuple[int, list[str]]] = []
        self.waiting: list[OnAnswer] = []
        self.away = False

    def send(self, job_id: str, attempt: int, first: int, events: Any, on_answer: OnAnswer, **_: bool) -> bool:
        self.sent.append((first, texts(events)))
        self.waiting.append(on_answer)
        return True

    async def append(self, job_id: str, attempt: int, first: int, events: Any) -> AppendResult:
        self.again.append((first, texts(events)))
        if self.away:
            raise StoreUnavailable("away")
        return AppendResult("ok", first + len(events) - 1, None)

    async def finish(self, job_id: str, attempt: int, first: int, events: Any, fields: Any) -> AppendResult:
        self.finished.append((first, texts(events)))
        return AppendResult("ok", first + len(events) - 1, None)

    def answer(self, answer: AppendResult | Exception) -> None:
        self.waiting.pop(0)(answer)


def texts(events: Sequence[tuple[str, bytes]]) -> list[str]:
    return [orjson.loads(data)["content"] for _, data in events]


def say(text: str) -> list[NewEvent]:
    return [NewEvent("content", {"content": text})]


def written(last_seq: int, flag: str | None = None) -> AppendResult:
    return AppendResult("ok", last_seq, flag)


def writer_of(log: Any, outage: float = 5) -> tuple[LogWriter, list[Exception]]:
    """Returns a writer whose log ends at 2, and its failures."""
    troubles: list[Exception] = []
    return LogWriter(log, "a-job", Claim(ClaimStatus.RUN, 1, 2), outage, troubles.append), troubles


def in_flight(*more: str) -> tuple[LogWriter, SlowLog, list[Exception]]:
    """Starts an append of "a" without a reply; returns it, and the events that were added since."""
    log = SlowLog()
    writer, troubles = writer_of(log)
    writer.add(say("a"), 1)
    for text in more:
        writer.add(say(text), 1)
    return writer, log, troubles


async def test_what_gathers_behind_an_append_leaves_as_one_event_with_its_answer() -> None:
    writer, log, troubles = in_flight("b", "c")
    assert log.sent == [(3, ["a"])]
    log.answer(written(3))
    assert log.sent == [(3, ["a"]), (4, ["bc"])]
    log.answer(written(4))
    assert not writer.busy
    writer.add(say("d"), 1)
    assert log.sent[2:] == [(5, ["d"])]
    assert troubles == []


@pytest.mark.parametrize("answer", [AppendResult("gap", 1, None), ConnectionError("lost")])
async def test_events_without_an_answer_are_sent_again_before_what_gathered(answer: AppendResult | Exception) -> None:
    writer, log, troubles = in_flight("b")
    log.answer(answer)
    writer.add(say("c"), 1)
    await until(lambda: len(log.sent) == 2)
    assert (log.again, log.sent[1]) == ([(3, ["a"])], (4, ["bc"]))
    log.answer(written(4))
    assert (writer.busy, troubles) == (False, [])


@pytest.mark.parametrize("answer", [Fenced("no", code="fenced"), written(3, "me")])
async def test_nothing_is_sent_after_an_answer_that_ends_the_writing(answer: AppendResult | Fenced) -> None:
    writer, log, troubles = in_flight("b")
    log.answer(answer)
    writer.add(say("c"), 1)
    assert [str(error) for error in troubles] == ["no" if isinstance(answer, Fenced) else "me"]
    assert isinstance(troubles[0], Fenced | Cancelled)
    assert (len(log.sent), log.again) == (1, [])


@pytest.mark.parametrize("reply", [AppendResult("ok", 3, None), ConnectionError("lost")])
async def test_memory_that_is_used_up_where_an_answer_arrives_is_told(
    monkeypatch: pytest.MonkeyPatch, reply: AppendResult | Exception
) -> None:
    """For an append, and for one that was sent again. Otherwise the attempt would wait for ever, with its lease
    renewed."""
    _, log, troubles = in_flight("b")

    def none_left(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("readalong.worker.log_writer.encode", none_left)
    log.answer(reply)
    await until(lambda: troubles)
    assert [type(error) for error in troubles] == [MemoryError]


async def test_an_outage_beyond_the_limit_is_told_once_while_more_gathers() -> None:
    log = SlowLog()
    log.away = True
    writer, troubles = writer_of(log, outage=0.1)
    writer.add(say("a"), 1)
    log.answer(ConnectionError("lost"))
    writer.add(say("b"), 1)
    await until(lambda: troubles)
    assert [type(error) for error in troubles] == [StoreUnavailable]
    assert {str(each) for each in log.again} == {str((3, ["a"]))}
    log.away = False
    await writer.detach()
    await writer.finish([NewEvent("failed", {"content": "end"})], {})
    assert log.finished == [(3, ["a", "b", "end"])]


async def test_a_caller_that_waits_for_a_reply_continues_with_it_and_finds_room() -> None:
    writer, log, _ = in_flight()
    full = []
    for size in (65_536, 1):
        writer.add(say("b"), size)
        full.append(writer.full)
    assert full == [False, True]
    waiting = asyncio.create_task(writer.wait_for_ack())
    await asyncio.sleep(0)
    log.answer(written(3))
    await waiting
    assert (writer.full, writer.busy) == (False, True)


async def test_the_end_carries_what_gathered_and_a_late_answer_changes_nothing() -> None:
    writer, log, troubles = in_flight("b", "c")
    await writer.detach()
    await writer.finish([NewEvent("cancelled", {"content": "end"})], {})
    log.answer(ConnectionError("late"))
    assert (log.finished, log.again, troubles) == ([(3, ["a", "bc", "end"])], [], [])


async def test_leaving_ends_the_sending_again() -> None:
    log = SlowLog()
    log.away = True
    writer, troubles = writer_of(log)
    writer.add(say("a"), 1)
    log.answer(ConnectionError("lost"))
    await until(lambda: log.again)
    await writer.detach()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert troubles == []


async def test_over_the_multiplexed_connection_each_event_comes_once_though_redis_forgets_scripts_and_connections(
    backend: Backend,
) -> None:
    job_id = await backend.write()
    claim = await backend.log.claim(job_id, WORKER, "token")
    redis = connect(backend.settings)
    pipe = MultiplexedConnection(redis, 5)
    troubles: list[Exception] = []
    log = Log(RedisFacade(redis, backend.settings, pipe), backend.settings)
    writer = LogWriter(log, job_id, claim, 30, troubles.append)
    said = ""
    try:
        for turn in range(60):
            if turn % 20 == 5:
                await backend.redis.script_flush()
            if turn % 20 == 15:
                await backend.redis.client_kill_filter(_type="normal", skipme=True)
            writer.add(say(f"{turn} "), 1)
            said += f"{turn} "
            await asyncio.sleep(0)
        await until(lambda: not writer.busy)
        assert text_of(await backend.events(job_id)) == said
        await backend.redis.set(backend.keys.cancel(job_id), "me")
        writer.add(say("more"), 1)
        await until(lambda: troubles)
        assert [(type(error), str(error)) for error in troubles] == [(Cancelled, "me")]
    finally:
        await writer.detach()
        await pipe.close()
        await redis.aclose()
