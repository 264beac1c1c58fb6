"""The checker has its own decoder of stored logs; these tests compare it with the real store."""

from __future__ import annotations

from typing import Any

import pytest
from arq.connections import ArqRedis

from readalong.core.events import NewEvent, merge
from readalong.core.settings import Settings
from readalong.store.log import Log, encode
from tests.chaos.checker.log import decompact, joined
from tests.readalong.helpers import settings_for
from tests.readalong.jobs import end, running


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return settings_for(redis_url)


def drafts() -> list[NewEvent]:
    """Texts of all sorts, more of them than one entry may cover."""
    odd = ['"quoted"\\', "\u2028", "🦉🦉", "", "\x00\x1f\x7f", "é\n\t"]
    texts = [NewEvent("content", {"content": text}) for text in odd * 400]
    return [
        NewEvent("reasoning", {"content": "h"}),
        NewEvent("reasoning", {"content": "m"}),
        *texts,
        NewEvent("content", {"content": "c", "logprobs": [1.5, 1e-9]}),
        NewEvent("content", {"content": "x", "choice": 1}),
        NewEvent("content", {"content": "y", "choice": 1}),
        *texts[:9],
    ]


async def test_a_compacted_log_says_the_same_bytes_as_before(log: Log, redis: ArqRedis, settings: Settings) -> None:
    job_id = await running(log)
    said = drafts()
    parts = [draft.fields for draft in said if draft.type == "content" and "choice" not in draft.fields]
    whole = "".join(part["content"] for part in parts)
    await log.finish(job_id, 1, 3, [*encode(said), *end("done", content=whole)], {})
    events = await log.read(job_id, 0, 10_000)
    plain = decompact(await entries(redis, settings, job_id))
    assert await log.compact(job_id, 1, 3, list(merge(events[2:])))
    stored = await entries(redis, settings, job_id)
    assert any("from" in row for _, row in stored)
    assert len(stored) < len(events) / 10
    compacted = decompact(stored)
    assert [event[:3] for event in compacted] == [event[:3] for event in plain]
    assert [event.typed.encode() for event in compacted] == [event.data_with_type() for event in events]


async def test_what_a_client_gets_merged_is_what_the_checker_joins(
    log: Log, redis: ArqRedis, settings: Settings
) -> None:
    job_id = await running(log)
    await log.finish(job_id, 1, 3, [*encode(drafts()), *end("done", content="")], {})
    plain = decompact(await entries(redis, settings, job_id))
    for event in merge(await log.read(job_id, 0, 10_000)):
        assert joined(plain[event.after : event.seq]) == {"type": event.type, **event.fields()}


async def entries(redis: ArqRedis, settings: Settings, job_id: str) -> list[Any]:
    """Returns the entries as text, as the harness reads them."""
    found = await redis.xrange(settings.keys.events(job_id))
    return [
        [entry_id.decode(), {name.decode(): value.decode() for name, value in row.items()}] for entry_id, row in found
    ]
