"""Jobs written straight into the log, with readalong's own code and no model: watchers see no difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import orjson
from pydantic import AnyUrl

from bench.harness.errors import BenchError
from readalong.core.events import merge
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission

_WORKER: Final = orjson.dumps({"host": "bench", "pid": 0, "id": "bench"})
#: Leased jobs stay leased for the whole run.
_LEASE: Final = 600
#: Looks for a job that an API queues, and seconds between them.
_TRIES: Final = 1000
_TRY_EVERY: Final = 0.01


class Jobs:
    """The writer of one or many jobs."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self.redis = redis.for_arq()
        self.keys = settings.keys
        self.log = Log(redis, settings)
        self.queue = Queue(redis, settings)
        self.index = JobIndex(redis, settings)

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str) -> AsyncIterator[Jobs]:
        # The defaults, as in the measured processes, without the settings of the environment.
        settings = Settings.model_construct(redis_url=AnyUrl(url), lease=_LEASE)
        redis = RedisFacade.connect(settings)
        try:
            yield cls(redis, settings)
        finally:
            await redis.close()

    async def running(self, *, queued: bool = False) -> Written:
        """Returns a running job. `queued`: it is in the queue too, leased as by a worker of another machine."""
        job_id = new_job_id()
        now = await self.index.now()
        await self.log.submit(Submission(job_id, "clock", b"{}", b"{}", "", now))
        if queued:
            await self.queue.enqueue(job_id, now)
            await self.queue.acquire("bench", 1)
        claim = await self.log.claim(job_id, _WORKER, job_id)
        return Written(self.log, job_id, claim.attempt, claim.last_seq)

    async def taken(self) -> Written:
        """Takes the job that an API has queued, as a worker does, and returns it. Raises BenchError if none comes."""
        for _ in range(_TRIES):
            for leased in await self.queue.acquire("bench", 1):
                claim = await self.log.claim(leased.job_id, _WORKER, leased.job_id)
                return Written(self.log, leased.job_id, claim.attempt, claim.last_seq)
            await asyncio.sleep(_TRY_EVERY)
        raise BenchError("no job was queued")

    async def finished(self, texts: Sequence[str]) -> Written:
        """Returns an ended job with these texts, one event each."""
        job = await self.running()
        for at in range(0, len(texts), 500):
            await job.append([text.encode() for text in texts[at : at + 500]])
        await job.finish()
        return job


class Written:
    """One job and its position."""

    def __init__(self, log: Log, job_id: str, attempt: int, last_seq: int) -> None:
        self._log = log
        self._attempt = attempt
        self.job_id = job_id
        self.last_seq = last_seq
        #: Events before the first text.
        self.head = last_seq

    @property
    def path(self) -> str:
        return f"/v1/jobs/{self.job_id}/events"

    async def append(self, texts: Sequence[bytes]) -> None:
        """Appends a text event for each, in one call."""
        drafts = [("content", orjson.dumps({"content": text.decode()})) for text in texts]
        answer = await self._log.append(self.job_id, self._attempt, self.last_seq + 1, drafts)
        self.last_seq = answer.last_seq

    async def finish(self) -> None:
        """Writes the terminal event and does a worker's clean-up.

        Its text is `@`, so that a client that counts `@` sees the end as one more event.
        """
        done = ("done", orjson.dumps({"finish_reason": "stop", "content": "@", "usage": None, "metrics": {}}))
        answer = await self._log.finish(self.job_id, self._attempt, self.last_seq + 1, [done], {})
        events = await self._log.read(self.job_id, self.head, answer.last_seq)
        await self._log.compact(self.job_id, self._attempt, self.head + 1, list(merge(events)))


async def taken(jobs: Jobs, count: int) -> None:
    """Returns this many running jobs of a worker that does not exist.

    This process' own workers must be halted meanwhile.
    """
    for _ in range(0, count, 50):
        await asyncio.gather(*(jobs.running(queued=True) for _ in range(50)))
    # The wake-ups of these leased jobs would wake workers for nothing.
    await jobs.redis.delete(jobs.keys.wake)
