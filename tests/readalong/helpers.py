"""Settings with distinct times, the state of a job in Redis, and the checks that hold for every log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from pydantic import AnyUrl

from readalong.core.events import Event
from readalong.core.keys import Keys, new_job_id
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import LeasedJob, Queue
from tests.support.waiting import until

RETENTION = 1_000
JOB_TTL = 5_000


def settings_for(url: str, **changes: Any) -> Settings:
    """Returns settings for that server. Retention and time to live differ, so that a test can tell which one a key
    got."""
    values: dict[str, Any] = {"retention": RETENTION, "job_ttl": JOB_TTL, **changes}
    return Settings(redis_url=AnyUrl(url), **values)


async def history(log: Log, job_id: str) -> list[Event]:
    return await log.read(job_id, 0, 10_000)


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def check_log(events: Sequence[Event]) -> None:
    """Checks that the numbers are 1, 2, 3, …, that all data are JSON objects, and that a terminal event is the last."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(isinstance(orjson.loads(event.data), dict) for event in events)
    assert not any(event.type in TERMINAL for event in events[:-1])


async def command(redis: Any, *words: str | bytes | float) -> Any:
    """Sends one command as redis-cli would."""
    return await redis.execute_command(*words)


async def state(redis: Any, keys: Keys, job_id: str) -> tuple[dict[bytes, bytes], list[Any], bytes | None]:
    """Returns everything that Redis holds of a job."""
    job, events, cancel, _ = keys.of_job(job_id)
    return await redis.hgetall(job), await redis.xrange(events), await redis.get(cancel)


async def enqueue(queue: Queue, index: JobIndex, count: int = 1) -> list[str]:
    """Enqueues new jobs, each in a millisecond of its own."""
    ids = []
    for _ in range(count):
        now = await index.now()
        job_id = new_job_id()
        assert await queue.enqueue(job_id, now)
        ids.append(job_id)
        # Not later than `now`: the job may have been enqueued a millisecond after it.
        await until(partial(_later, index, await index.now()), "the next millisecond")
    return ids


async def _later(index: JobIndex, at: int) -> bool:
    return await index.now() > at


def places_of(taken: Sequence[LeasedJob | None]) -> list[tuple[str, int] | None]:
    """Returns the jobs and their places in the queue; None for each that was not acquired."""
    return [one and (one.job_id, one.score) for one in taken]


def ids_of(taken: list[LeasedJob]) -> list[str]:
    return [one.job_id for one in taken]
