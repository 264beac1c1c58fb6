"""arq's queue, as we use it: woken at once, taken in one call under a short lease, given back with a check.

The sorted set stays the truth and everything in it has arq's own form. A taken job keeps its place in it, behind all
that wait, and stands in a second one by the end of its lease: when that is over it waits at its old place again.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, NamedTuple

from arq.constants import in_progress_key_prefix
from arq.jobs import serialize_job

from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.redis.client import encode_job
from readalong.redis.facade import RedisFacade
from readalong.store.presence import first_ms, set_ttl_ms

#: The name under which workers register the function that runs a job.
FUNCTION: Final = "generate"

_LONGEST_WAKE_LIST: Final = 10_000
#: Milliseconds for which the bytes that wait are not counted again.
_WEIGHED_MS: Final = 1_000


class LeasedJob(NamedTuple):
    """A job under our lease; `score` is its place in the queue, `until` the lease's end, both in milliseconds."""

    job_id: str
    score: int
    until: int


class Queue:
    """The queue of one prefix. Each call raises StoreUnavailable."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._ttl_ms = int(settings.job_ttl * 1000)
        self._lease_ms = int(settings.lease * 1000)
        self._waiting = redis.for_blocking()
        self._wait_id: int | None = None
        self._leased = [self._keys.queue, self._keys.leases]
        self._moved = [self._keys.jobs_in(Status.QUEUED), self._keys.jobs_in(Status.RUNNING)]
        self._settings = settings
        self._watched_ttl_ms = set_ttl_ms(settings)
        self._model_ttl_ms = int((settings.retention + settings.job_ttl) * 1000)

    async def enqueue(
        self,
        job_id: str,
        created_at: int,
        *,
        model: str | None = None,
        watched: bool = False,
        grace: int | None = None,
        waits: bool = False,
    ) -> bool:
        """Lists a job that is written, puts it into the queue and wakes a worker. Returns False if it was there.

        `created_at` is in milliseconds. `watched`: it is to end without a watcher, and its time begins now;
        `grace`: its own, in milliseconds, or None. `waits`: only list it, since it waits for its thread.
        """
        call = serialize_job(FUNCTION, (job_id,), {}, None, created_at, serializer=encode_job)
        of_all = (self._keys.queue, self._keys.arq_job(job_id), self._keys.wake)
        keys = [*of_all, self._keys.jobs, self._keys.active, self._keys.presence, self._moved[0], self._keys.ids]
        if model is not None:
            keys.append(self._keys.jobs_of(model))
        first = first_ms(self._settings, grace) if watched else 0
        times = (created_at, first, self._watched_ttl_ms, self._model_ttl_ms, int(waits), self._keys.stats_names)
        return bool(await self._redis.call("enqueue", keys, job_id, call, self._ttl_ms, _LONGEST_WAKE_LIST, *times))

    async def depth(self) -> tuple[int, int]:
        """Redis' time in milliseconds since the epoch, and how many jobs are due and not taken."""
        now, waiting = await self._redis.call("depth", [self._keys.queue])
        return now, waiting

    async def weight(self, size: int, limit: int, let_in: int) -> int:
        """Returns the bytes of the requests that wait: as they were counted up to a second ago, with those that all
        processes have let in since. Adds `size` if they are below the limit.

        `let_in`: bytes that this process has let in without asking."""
        keys = [self._keys.queue, self._keys.weight]
        name = self._keys.job("?").split("?")
        return int(await self._redis.call("weight", keys, _WEIGHED_MS, let_in, size, limit, *name))

    async def overdue(self, patience_ms: int) -> int:
        """Returns how many jobs have waited for longer than this."""
        now, _ = await self.depth()
        return int(await self._redis.command("ZCOUNT", self._keys.queue, "-inf", now - patience_ms))

    async def contains(self, job_ids: list[str], *, renew: bool = True) -> list[bool]:
        """Returns for each job whether it is in the queue. `renew`: those get a new time to live."""
        if not job_ids:
            return []
        names = [self._keys.arq_job(job_id) for job_id in job_ids]
        scores = await self._redis.command("ZMSCORE", self._keys.queue, *job_ids)
        if not renew and await self._redis.command("EXISTS", *names) == len(names):
            return [score is not None for score in scores]
        there = await self._redis.pipeline([("PEXPIRE", name, self._ttl_ms) for name in names])
        return [score is not None and bool(kept) for score, kept in zip(scores, there, strict=True)]

    async def acquire(self, worker_id: str, count: int, token: str = "") -> list[LeasedJob]:
        """Takes up to `count` waiting jobs, oldest first, each under a lease.

        `token` is this take's alone: call again with it when the reply was lost, and get what was taken then.
        """
        keys = [*self._leased, self._keys.liveness, self._keys.last_acquire(worker_id), *self._moved]
        token = token or secrets.token_hex(8)
        flat = await self._redis.call(
            "acquire", keys, worker_id, self._lease_ms, count, in_progress_key_prefix, self._ttl_ms, token
        )
        rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        return [LeasedJob(job_id.decode(), int(score), int(until)) for job_id, score, until in rows]

    async def acquire_by_id(self, worker_id: str, job_id: str) -> LeasedJob | None:
        """Takes this job, whatever waits before it. Returns None, and does nothing, if another worker holds it or it is
        not in the queue."""
        keys = [*self._leased, self._keys.liveness, self._keys.arq_in_progress(job_id), *self._moved]
        held = await self._redis.call("acquire_by_id", keys, worker_id, job_id, self._lease_ms, self._ttl_ms)
        return None if held is None else LeasedJob(job_id, *map(int, held))

    async def wait(self, within: float) -> bool:
        """Waits up to `within` seconds for a job to be enqueued; one waiting worker wakes for each.

        Only a wake-up leaves Redis this way: a take that stood behind it, in the same round trip, would give jobs to
        workers that are paused. `within` is at most the Redis time-out.
        """
        _, woken = await asyncio.gather(
            self._note_waiting_connection(),
            self._waiting.command("BLPOP", self._keys.wake, str(within)),
        )
        return woken is not None

    async def stop_waiting(self) -> None:
        """Ends a `wait` that is under way."""
        if self._wait_id is not None:
            await self._redis.command("CLIENT", "UNBLOCK", self._wait_id)

    async def _note_waiting_connection(self) -> None:
        # Each time, for a broken connection is replaced unseen.
        self._wait_id = await self._waiting.command("CLIENT", "ID")

    async def close(self) -> None:
        await self._waiting.close()

    async def renew(self, worker_id: str, job_ids: list[str]) -> list[str]:
        """Renews the leases of these jobs, and notes that the worker lives. Returns those that another worker has."""
        keys = [*self._leased, self._keys.liveness]
        lost = await self._redis.call(
            "renew", keys, worker_id, self._lease_ms, in_progress_key_prefix, self._ttl_ms, *job_ids
        )
        return [job_id.decode() for job_id in lost]

    async def ack(self, worker_id: str, job_id: str) -> bool:
        """Removes a finished job from the queue. Returns False, and does nothing, if another worker holds the lease."""
        lease = [*self._leased, self._keys.arq_in_progress(job_id)]
        keys = [*lease, self._keys.arq_job(job_id), self._keys.arq_retry(job_id)]
        return bool(await self._redis.call("ack", keys, worker_id, job_id))

    async def nack(self, worker_id: str, job_id: str) -> bool:
        """Puts the job back at its place and wakes a worker. Returns False, and does nothing, if another worker holds
        the lease."""
        keys = [*self._leased, self._keys.arq_in_progress(job_id), self._keys.wake]
        return bool(await self._redis.call("nack", keys, worker_id, job_id, self._ttl_ms))

    async def remove(self, job_id: str) -> None:
        """Removes a job that ended while it waited."""
        await self.ack("", job_id)
