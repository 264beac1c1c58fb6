"""Short ways to a job in each of its states, and the checks that hold for every log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import AnyUrl

from readalong.events import TERMINAL, Draft, Event
from readalong.keys import Keys, new_job_id
from readalong.log import Claim, Log, Submission, Verdict, encode
from readalong.settings import Settings

T = TypeVar("T")

WORKER = b'{"host":"h","pid":1,"id":"w1"}'
OTHER_WORKER = b'{"host":"h","pid":2,"id":"w2"}'
METRICS = b'{"total_seconds":1.5}'
RETENTION = 1_000
JOB_TTL = 5_000
CREATED_AT = 1_763_850_000_123


def settings_for(url: str, **changes: Any) -> Settings:
    """Settings of that server; retention and time to live differ, so that a test can tell which one a key got."""
    values: dict[str, Any] = {"retention": RETENTION, "job_ttl": JOB_TTL, **changes}
    return Settings(redis_url=AnyUrl(url), **values)


def submission(job_id: str | None = None, **changes: Any) -> Submission:
    new = Submission(job_id or new_job_id(), "m", b'{"messages":[]}', b'{"user":"u"}', "digest", CREATED_AT)
    return new._replace(**changes)


def content(*texts: str) -> list[tuple[str, bytes]]:
    return encode([Draft("content", {"content": text}) for text in texts])


def end(kind: str = "done", **fields: Any) -> list[tuple[str, bytes]]:
    return encode([Draft(kind, {"content": "", **fields})])


async def queued(log: Log) -> str:
    """A new job."""
    new = submission()
    created, _ = await log.submit(new)
    assert created
    return new.job_id


async def running(log: Log) -> str:
    """A job under its first attempt; its log holds `queued` and `started`."""
    job_id = await queued(log)
    claim = await log.claim(job_id, WORKER, "first")
    assert claim.verdict == Verdict.RUN
    return job_id


async def ended(log: Log, kind: str = "done") -> str:
    """A job that ended with that event, number 3."""
    job_id = await running(log)
    await log.finish(job_id, 1, 3, end(kind), {})
    return job_id


async def reclaim(log: Log, job_id: str, token: str = "second") -> Claim:
    """Another worker's claim."""
    return await log.claim(job_id, OTHER_WORKER, token)


async def history(log: Log, job_id: str) -> list[Event]:
    return await log.read(job_id, 0, 10_000)


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def check_log(events: Sequence[Event]) -> None:
    """The numbers are 1, 2, 3, …, every event's data is a JSON object, and a terminal event is the last."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(isinstance(orjson.loads(event.data), dict) for event in events)
    assert not any(event.type in TERMINAL for event in events[:-1])


async def until(look: Callable[[], Awaitable[T]], within: float = 10) -> T:
    """What `look` answers as soon as it is true. Fails after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.005)


async def command(redis: Any, *words: str | int) -> Any:
    """One command as redis-cli would send it."""
    return await redis.execute_command(*words)


async def state(redis: Any, keys: Keys, job_id: str) -> tuple[dict[bytes, bytes], list[Any], bytes | None]:
    """All that Redis holds of a job."""
    job, events, cancel, _ = keys.of_job(job_id)
    return await redis.hgetall(job), await redis.xrange(events), await redis.get(cancel)
