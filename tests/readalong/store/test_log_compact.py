"""An ended log in fewer entries gives every reader the same events, and its other data stay as they were."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readalong.core.errors import BrokenJob
from readalong.core.events import PAGE_SIZE, Event, NewEvent, merge
from readalong.core.keys import Keys
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.log import Log, encode
from tests.readalong.helpers import RETENTION, command, history, settings_for, state
from tests.readalong.jobs import content, end, reclaim, running

Drafts = list[tuple[str, bytes]]
WORDS = ["one", " two", "\u2028", " 🦉🦉", "", ' "three"\\']


async def over(log: Log, drafts: Drafts, kind: str = "done") -> tuple[str, list[Event]]:
    """Creates a job that ended after these events; also returns the events of its attempt."""
    job_id = await running(log)
    text = "".join(orjson.loads(data)["content"] for kind, data in drafts if kind == "content")
    await log.finish(job_id, 1, 3, [*drafts, *end(kind, content=text)], {})
    return job_id, await log.read(job_id, 2, 100_000)


async def entries(redis: ArqRedis, keys: Keys, job_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = await redis.xrange(keys.events(job_id))
    return list(found)


async def test_text_becomes_one_entry_that_says_the_length_of_each_piece(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """Its text is stored once, in the end event that repeats it."""
    job_id, events = await over(log, content(*WORDS))
    before = await history(log, job_id)
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    stored = await entries(redis, keys, job_id)
    assert [entry_id for entry_id, _ in stored] == [b"1-0", b"2-0", b"8-0", b"9-0"]
    assert stored[2][1] == {b"type": b"content", b"data": b"{}", b"pieces": b"3,4,1,3,0,9", b"from": b"0"}
    assert await history(log, job_id) == before


async def test_what_the_end_does_not_repeat_stays_where_it_was_said(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """Reasoning, other choices, and pieces with log probabilities between the text."""
    drafts = encode(
        [
            NewEvent("reasoning", {"content": "hm"}),
            NewEvent("reasoning", {"content": "m"}),
            NewEvent("content", {"content": "a"}),
            NewEvent("content", {"content": "b"}),
            NewEvent("content", {"content": "c", "logprobs": [1]}),
            NewEvent("content", {"content": "d"}),
            NewEvent("content", {"content": "e"}),
            NewEvent("content", {"content": "x", "choice": 1}),
            NewEvent("content", {"content": "y", "choice": 1}),
            NewEvent("content", {"content": "f"}),
            NewEvent("content", {"content": "g"}),
        ]
    )
    job_id = await running(log)
    await log.finish(job_id, 1, 3, [*drafts, *end("cancelled", content="abcdefg")], {})
    before = await history(log, job_id)
    assert await log.compact(job_id, 1, 3, list(merge(before[2:])))
    stored = [fields for _, fields in await entries(redis, keys, job_id)]
    assert [(f[b"data"], f.get(b"from")) for f in stored[2:-1]] == [
        (b'{"content":"hmm"}', None),
        (b"{}", b"0"),
        (b'{"content":"c","logprobs":[1]}', None),
        (b"{}", b"3"),
        (b'{"content":"xy","choice":1}', None),
        (b"{}", b"5"),
    ]
    assert await history(log, job_id) == before


async def test_an_end_that_says_something_else_is_not_quoted(log: Log) -> None:
    """Only text that the end repeats character by character may be left out elsewhere."""
    job_id = await running(log)
    await log.finish(job_id, 1, 3, [*content("ab", "cd"), *end(content="abcx")], {})
    before = await history(log, job_id)
    assert await log.compact(job_id, 1, 3, list(merge(before[2:])))
    assert await history(log, job_id) == before


async def test_a_long_text_is_read_in_parts_without_its_end(log: Log, redis: ArqRedis, keys: Keys) -> None:
    """Reading a page of it must not read all of it."""
    job_id, events = await over(log, content(*("word " * 10 for _ in range(2 * PAGE_SIZE))))
    before = await history(log, job_id)
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    stored = [fields for _, fields in await entries(redis, keys, job_id)]
    assert not any(b"from" in fields for fields in stored)
    assert len(stored) == 6
    assert await log.read(job_id, 0, 10_000) == before


async def test_a_merged_read_gives_whole_entries_and_the_rest_of_the_first(log: Log) -> None:
    job_id, events = await over(log, content(*(f"{n} " for n in range(3, 3000))))
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    read = await log.read_merged(job_id, 0, 3000)
    assert [(event.after, event.seq) for event in read] == [
        (0, 1),
        (1, 2),
        (2, 1024),
        (1024, 2048),
        (2048, 2999),
        (2999, 3000),
    ]
    (some,) = await log.read_merged(job_id, 500, 10)
    assert (some.after, some.seq) == (500, 1024)
    assert some.fields()["content"] == "".join(f"{n} " for n in range(501, 1025))
    assert await log.read_merged(job_id, 3000, 10) == []


@pytest.mark.parametrize("after", [0, 2, 3, 1000, 1023, 1024, 1025, 2498])
@pytest.mark.parametrize("count", [1, 3, 1000, 5000])
async def test_reading_gives_single_events_however_they_are_stored(log: Log, after: int, count: int) -> None:
    job_id, events = await over(log, content(*(f"{n}" for n in range(3, 2500))))
    before = await log.read(job_id, after, count)
    newest = await log.newest(job_id, count)
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    assert await log.read(job_id, after, count) == before
    assert await log.newest(job_id, count) == newest


async def test_the_time_to_live_and_all_else_stay_as_they_are(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id, events = await over(log, content(*WORDS))
    await redis.pexpire(keys.events(job_id), 123_456)
    before = await command(redis, "HGETALL", keys.job(job_id))
    at = await command(redis, "PEXPIRETIME", keys.events(job_id))
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    # A script takes the time twice.
    assert 0 <= await command(redis, "PEXPIRETIME", keys.events(job_id)) - at < 1000
    assert await command(redis, "HGETALL", keys.job(job_id)) == before
    assert sorted(await redis.keys("*")) == sorted(name.encode() for name in keys.of_job(job_id)[:2])
    assert RETENTION * 1000 > 123_456


@pytest.mark.parametrize("attempt", [0, 2])
async def test_another_attempt_than_the_one_that_ended_it_changes_nothing(
    log: Log, redis: ArqRedis, keys: Keys, attempt: int
) -> None:
    job_id, events = await over(log, content(*WORDS))
    before = await state(redis, keys, job_id)
    assert not await log.compact(job_id, attempt, 3, list(merge(events)))
    assert await state(redis, keys, job_id) == before


async def test_a_job_that_runs_or_is_gone_is_left_alone(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a", "b"))
    events = await log.read(job_id, 2, 10)
    before = await state(redis, keys, job_id)
    assert not await log.compact(job_id, 1, 3, list(merge(events)))
    assert await state(redis, keys, job_id) == before
    await log.delete(job_id)
    before = await state(redis, keys, job_id)
    assert not await log.compact(job_id, 1, 3, list(merge(events)))
    assert await state(redis, keys, job_id) == before


@pytest.mark.parametrize("wrong", ["another last number", "a hole", "done before"])
async def test_a_log_that_is_not_what_its_writer_thinks_is_left_alone(
    log: Log, redis: ArqRedis, keys: Keys, wrong: str
) -> None:
    job_id, events = await over(log, content(*WORDS))
    entries = list(merge(events))
    match wrong:
        case "another last number":
            entries[-1] = entries[-1]._replace(seq=entries[-1].seq + 1)
        case "a hole":
            await redis.xdel(keys.events(job_id), "4-0")
        case "done before":
            assert await log.compact(job_id, 1, 3, entries)
    before = await state(redis, keys, job_id)
    assert not await log.compact(job_id, 1, 3, entries)
    assert await state(redis, keys, job_id) == before


async def test_what_earlier_attempts_wrote_stays_as_it_was(log: Log, redis: ArqRedis, keys: Keys) -> None:
    job_id = await running(log)
    await log.append(job_id, 1, 3, content("lost", " words"))
    assert (await reclaim(log, job_id)).last_seq == 5
    await log.finish(job_id, 2, 6, [*content("a", "b"), *end(content="ab")], {})
    before, stored = await history(log, job_id), await entries(redis, keys, job_id)
    assert await log.compact(job_id, 2, 6, list(merge(before[5:])))
    assert (await entries(redis, keys, job_id))[:5] == stored[:5]
    assert len(await entries(redis, keys, job_id)) == 7
    assert await history(log, job_id) == before


async def test_a_script_that_breaks_halfway_leaves_the_log_and_nothing_that_lives_for_ever(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    """A script has no rollback: the old log must stay until the new one is complete."""
    job_id, events = await over(log, content(*WORDS))
    before = await state(redis, keys, job_id)
    first, last = merge(events)
    with pytest.raises(BrokenJob):
        await log.compact(job_id, 1, 3, [first._replace(seq=last.seq + 1), last])
    assert await state(redis, keys, job_id) == before
    assert 0 < await redis.pttl(keys.compacted(job_id)) <= RETENTION * 1000
    assert await log.compact(job_id, 1, 3, [first, last])
    assert await redis.exists(keys.compacted(job_id)) == 0


async def test_a_full_redis_gets_rid_of_what_it_can(log: Log, redis: ArqRedis) -> None:
    job_id, events = await over(log, content(*WORDS * 100))
    before = await history(log, job_id)
    await redis.config_set("maxmemory", 1)
    try:
        assert await log.compact(job_id, 1, 3, list(merge(events)))
    finally:
        await redis.config_set("maxmemory", 0)
    assert await history(log, job_id) == before


async def test_a_finished_job_of_a_thousand_tokens_takes_less_than_three_times_its_text(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    job_id, events = await over(log, content(*(f" w{n % 1000:03d}" for n in range(1000))))
    assert await log.compact(job_id, 1, 3, list(merge(events)))
    client: Any = redis
    taken = [await client.memory_usage(name, samples=0) for name in await redis.keys("*")]
    assert sum(taken) < 3 * 5000


text_drafts = st.builds(
    lambda kind, text, more: NewEvent(kind, {"content": text, **more}),
    st.sampled_from(["content", "content", "content", "reasoning"]),
    st.text(max_size=6),
    st.sampled_from([{}, {}, {}, {}, {"choice": 1}, {"logprobs": [1]}]),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(text_drafts | st.just(NewEvent("tool_call", {"index": 0})), max_size=30), st.booleans(), st.data())
def test_any_log_reads_the_same_from_any_position_once_it_is_compacted(
    redis_url: str, drafts: list[NewEvent], honest: bool, data: st.DataObject
) -> None:
    async def check() -> None:
        redis = connect(settings_for(redis_url))
        try:
            log = Log(RedisFacade(redis, settings_for(redis_url)), settings_for(redis_url))
            job_id = await running(log)
            said = [d for d in drafts if d.type == "content" and not d.fields.get("choice")]
            text = "".join(draft.fields["content"] for draft in said) if honest else "another"
            await log.finish(job_id, 1, 3, [*encode(drafts), *end(content=text)], {})
            before = await history(log, job_id)
            assert await log.compact(job_id, 1, 3, list(merge(before[2:]))) or len(before) == 3
            after = data.draw(st.integers(0, len(before)))
            count = data.draw(st.integers(1, len(before)))
            assert await log.read(job_id, after, count) == before[after : after + count]
            merged = await log.read_merged(job_id, after, len(before))
            assert [piece for event in merged for piece in event.expand()] == before[after:]
        finally:
            await redis.aclose()

    asyncio.run(check())
