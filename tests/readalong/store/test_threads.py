"""A thread: who may go next is decided in one script, and what was said is recorded once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.core.errors import BrokenJob, InvalidRequest, ThreadBusy, ThreadFull, ThreadNotFound
from readalong.core.settings import Settings
from readalong.core.thread_entries import Entry, entries_of
from readalong.redis.facade import RedisFacade
from readalong.store.threads import ThreadRef, ThreadStore, Turn
from tests.readalong.helpers import command

REF = ThreadRef.of("t", {})


def turn(text: str = "hi", policy: Any = "reject", **more: Any) -> Turn:
    return Turn(entries_of([{"role": "user", "content": text}]), "t", policy, **more)


def said(text: str) -> list[Entry]:
    return entries_of([{"role": "assistant", "content": text}])


def texts(entries: list[Entry]) -> list[Any]:
    return [(entry.message or {}).get("content") for entry in entries]


@pytest.fixture
def threads(redis: ArqRedis, settings: Settings) -> ThreadStore:
    return ThreadStore(RedisFacade(redis, settings), settings)


def store(redis: ArqRedis, settings: Settings, **changes: Any) -> ThreadStore:
    changed = settings.model_copy(update=changes)
    return ThreadStore(RedisFacade(redis, changed), changed)


async def test_a_turn_and_its_answer_are_recorded_in_order_and_once(threads: ThreadStore) -> None:
    assert (await threads.begin(REF, "job1", turn("a"))).place == "run"
    assert texts(await threads.entries(REF)) == []
    for _ in range(2):
        assert await threads.end(REF, "job1", said("b"), keep=True) is None
    assert (await threads.begin(REF, "job2", turn("c"))).place == "run"
    await threads.end(REF, "job2", said("d"), keep=True)
    assert texts(await threads.entries(REF)) == ["a", "b", "c", "d"]
    assert texts(await threads.entries(REF, newest_first=True)) == ["d", "c", "b", "a"]


async def test_a_repeat_of_a_beginning_is_the_same_turn(threads: ThreadStore) -> None:
    first = await threads.begin(REF, "job1", turn("a"))
    assert await threads.begin(REF, "job1", turn("a")) == first
    assert first.created_at > 1_700_000_000_000
    await threads.end(REF, "job1", keep=True)
    assert (await threads.begin(REF, "job1", turn("a"))).place == "over"
    assert texts(await threads.entries(REF)) == ["a"]


async def test_of_many_turns_at_once_exactly_one_begins(threads: ThreadStore) -> None:
    begun = await asyncio.gather(
        *(threads.begin(REF, f"job{number}", turn()) for number in range(50)), return_exceptions=True
    )
    busy = [each for each in begun if isinstance(each, ThreadBusy)]
    assert len(busy) == 49
    running = await threads.running(REF)
    assert {each.job_id for each in busy} == {running}


async def test_enqueued_turns_run_one_after_the_other_in_their_order(threads: ThreadStore) -> None:
    names = [f"job{number}" for number in range(20)]
    await asyncio.gather(*(threads.begin(REF, name, turn(name, "enqueue")) for name in names))
    order = []
    running = await threads.running(REF)
    while running:
        assert (await threads.place(REF, running)).place == "run"
        order.append(running)
        running = await threads.end(REF, running, said(f"to {running}"), keep=True)
    assert sorted(order) == sorted(names)
    assert texts(await threads.entries(REF)) == [text for name in order for text in (name, f"to {name}")]


@pytest.mark.parametrize(("policy", "left"), [("interrupt", ["a", "so far", "b", "c", "d"]), ("rollback", ["c", "d"])])
async def test_a_turn_ends_all_turns_before_it(threads: ThreadStore, policy: str, left: list[str]) -> None:
    await threads.begin(REF, "job1", turn("a"))
    await threads.begin(REF, "job2", turn("b", "enqueue"))
    begun = await threads.begin(REF, "job3", turn("c", policy))
    assert (begun.place, begun.cancel) == ("wait", ("job1", "job2"))
    assert await threads.begin(REF, "job3", turn("c", policy)) == begun  # the first reply may be lost
    assert (await threads.place(REF, "job2")).drop == policy
    # The waiting one ends first: what was said in it stands behind the running one's all the same.
    assert await threads.end(REF, "job2", keep=True) == "job1"
    assert await threads.end(REF, "job1", said("so far"), keep=True) == "job3"
    assert await threads.end(REF, "job3", said("d"), keep=True) is None
    assert texts(await threads.entries(REF)) == left


async def test_a_waiting_turn_that_has_ended_is_rolled_back_with_those_before_it(threads: ThreadStore) -> None:
    await threads.begin(REF, "job1", turn("a"))
    await threads.begin(REF, "job2", turn("b", "enqueue"))
    await threads.end(REF, "job2", said("c"), keep=True)
    await threads.begin(REF, "job3", turn("d", "rollback"))
    assert await threads.end(REF, "job1", said("e"), keep=True) == "job3"
    assert await threads.entries(REF) == []


async def test_a_turn_that_failed_leaves_nothing(threads: ThreadStore, redis: ArqRedis, settings: Settings) -> None:
    await threads.begin(REF, "job1", turn("a"))
    await threads.end(REF, "job1", keep=False)
    assert await threads.entries(REF) == []
    assert await command(redis, "HLEN", settings.keys.of_thread(REF.digest)[2]) == 0
    assert await command(redis, "HGET", settings.keys.thread(REF.digest), "bytes") == b"0"


async def test_a_turn_without_a_job_ends_after_its_time_alone(threads: ThreadStore) -> None:
    await threads.begin(REF, "job1", turn("a"))
    assert await threads.end(REF, "job1", keep=False, gone=True, age_ms=60_000) == "job1"
    assert await threads.end(REF, "job1", keep=False, gone=True) is None
    # A repeat of its submit begins it again.
    assert (await threads.begin(REF, "job1", turn("a"))).place == "run"


async def test_a_turn_follows_its_parent_while_that_is_the_newest(threads: ThreadStore) -> None:
    await threads.begin(REF, "job1", turn("a"))
    await threads.end(REF, "job1", said("b"), keep=True)
    assert (await threads.begin(REF, "job2", turn("c", parent="job1"))).place == "run"
    await threads.end(REF, "job2", said("d"), keep=True)
    assert (await threads.begin(REF, "job3", turn("e", parent="job1"))).place == "fork"
    assert texts(await threads.entries_up_to(REF, "job1") or []) == ["a", "b"]
    assert await threads.entries_up_to(REF, "job3") is None


async def test_owners_have_threads_of_their_own(threads: ThreadStore) -> None:
    other = ThreadRef.of("t", {"owner": "ann"})
    await threads.begin(REF, "job1", turn())
    assert (await threads.begin(other, "job2", turn())).place == "run"


async def test_a_thread_has_limits_and_names_them(redis: ArqRedis, settings: Settings) -> None:
    small = store(redis, settings, max_thread_entries=2, max_thread_bytes=1024, max_thread_waiting=1)
    with pytest.raises(ThreadFull, match="1,024 bytes"):
        await small.begin(REF, "job1", turn("x" * 2000))
    await small.begin(REF, "job1", turn("a"))
    await small.begin(REF, "job2", turn("b", "enqueue"))
    with pytest.raises(ThreadFull, match="wait"):
        await small.begin(REF, "job3", turn("c", "enqueue"))
    await small.end(REF, "job1", keep=True)
    with pytest.raises(ThreadFull, match=r"entries as it may have \(2\)"):
        await small.begin(REF, "job3", turn("c", "enqueue"))
    with pytest.raises(ThreadFull):
        await small.add(REF, said("d"))


async def test_entries_are_added_read_in_pages_and_removed(threads: ThreadStore) -> None:
    with pytest.raises(ThreadNotFound):
        await threads.add(REF, said("a"))
    await threads.create(REF, {"k": "v"}, said("a"))
    more = [*said("b"), *said("c")]
    for _ in range(2):  # the first reply may be lost
        await threads.add(REF, more)
    assert texts(await threads.entries(REF, limit=2)) == ["a", "b"]
    assert texts(await threads.entries(REF, more[0].id)) == ["c"]
    assert await threads.remove(REF, more[0].id)
    assert not await threads.remove(REF, more[0].id)
    assert texts(await threads.entries(REF)) == ["a", "c"]
    assert await threads.entry(REF, more[1].id) == more[1]
    with pytest.raises(ThreadNotFound):
        await threads.entries(REF, more[0].id)
    with pytest.raises(InvalidRequest, match="already"):
        await threads.begin(REF, "job1", Turn([Entry(more[1].id, {"role": "user", "content": "x"})], "t"))
    found = await threads.get(REF)
    assert found is not None
    assert (found.id, found.metadata, found.running) == ("t", {"k": "v"}, "")


async def test_an_erased_thread_leaves_no_key(threads: ThreadStore, redis: ArqRedis) -> None:
    await threads.begin(REF, "job1", turn("a"))
    await threads.begin(REF, "job2", turn("b", "enqueue"))
    assert await threads.erase(REF) == ["job1", "job2"]
    assert await redis.keys("*") == []
    assert (await threads.place(REF, "job1")).place is None


async def test_all_keys_live_as_long_as_the_thread(redis: ArqRedis, settings: Settings) -> None:
    short = store(redis, settings, thread_ttl=100, job_ttl=1000)
    await short.begin(REF, "job1", turn("a"))
    await short.begin(REF, "job2", turn("b", "enqueue"))
    names = settings.keys.of_thread(REF.digest)
    there = [name for name in names if await redis.exists(name)]
    assert min([await redis.ttl(name) for name in there]) > 900  # while a turn runs
    await short.end(REF, "job1", said("c"), keep=True)
    await short.end(REF, "job2", keep=True)
    assert {await redis.ttl(name) for name in names if await redis.exists(name)} <= set(range(90, 101))


async def test_a_thread_that_no_client_named_lives_as_long_as_its_jobs(redis: ArqRedis, settings: Settings) -> None:
    short = store(redis, settings, retention=50, thread_ttl=1000, job_ttl=10)
    await short.begin(REF, "job1", turn("a"), unnamed=True)
    await short.end(REF, "job1", said("b"), keep=True)
    there = [name for name in settings.keys.of_thread(REF.digest) if await redis.exists(name)]
    assert {await redis.ttl(name) for name in there} <= set(range(40, 51))


async def test_a_thread_with_a_broken_key_is_a_broken_job(
    threads: ThreadStore, redis: ArqRedis, settings: Settings
) -> None:
    await redis.set(settings.keys.thread(REF.digest), "x")
    with pytest.raises(BrokenJob):
        await threads.begin(REF, "job1", turn())
