"""What is known about all jobs and workers: the list, the open jobs, Idempotency-Keys, signs of life.

These are keys of their own, written beside the scripts, so they may lag behind a job's hash; the sweep mends
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import orjson
from redis.asyncio import Redis

from readalong.connection import translated
from readalong.pipe import Pipe
from readalong.scripts import Scripts
from readalong.settings import Settings
from readalong.watched import first_ms, set_ttl_ms

#: Third word of an Idempotency-Key's value once its job is written.
_WRITTEN: Final = "written"


class Cursor(NamedTuple):
    """A place in the list: the time of creation (ms) and the id of the last job seen."""

    created_at: int
    job_id: str

    def __str__(self) -> str:
        return f"{self.created_at}:{self.job_id}"


def key_digest(key: str) -> str:
    """What Redis knows of an Idempotency-Key: clients may make it of what is nobody's business."""
    return sha256(key.encode()).hexdigest()


class Tie(NamedTuple):
    """What an Idempotency-Key stands for. `written`: its job was there, so that a missing one has expired."""

    job_id: str
    body_digest: str
    written: bool = False


class Index:
    def __init__(self, redis: Redis, settings: Settings, pipe: Pipe | None = None) -> None:
        self._redis = redis
        self._run = Scripts(pipe or redis)
        self._keys = settings.keys
        self._idempotency_ms = int(settings.idempotency_ttl * 1000)
        self._settings = settings
        self._watched_ttl_ms = set_ttl_ms(settings)
        self._keep_ms = int((settings.retention + settings.job_ttl) * 1000)

    async def now(self) -> int:
        """Redis' time in milliseconds since the epoch."""
        with translated():
            seconds, micros = await self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def add(self, job_id: str, created_at: int, *, watched: bool = False, grace: int | None = None) -> None:
        """Lists a job, before it is written: a job that is not listed would never be swept.

        `watched`: it is to end when nobody watches it, for which its time begins now; `grace`: its own, in ms, or None.
        """
        keys = [self._keys.jobs, self._keys.open, self._keys.watched]
        first = first_ms(self._settings, grace) if watched else 0
        await self._run("list", keys, job_id, created_at, first, self._watched_ttl_ms)

    async def close(self, *job_ids: str) -> None:
        """These jobs have ended. Does nothing for one that Redis knows as waiting or running."""
        await self._run("close", [self._keys.open, *map(self._keys.job, job_ids)], *job_ids)

    async def unlist(self, cursors: Sequence[Cursor]) -> None:
        """These jobs are not there; but a repeat of the submit may have listed one again since it was looked for."""
        await self._run("unlist", [self._keys.open], *(part for at in cursors for part in (at.job_id, at.created_at)))

    async def remove(self, *job_ids: str) -> None:
        """Forgets these jobs."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.lrem(self._keys.wake, 0, job_id)
                pipe.zrem(self._keys.open, *job_ids)
                pipe.zrem(self._keys.watched, *job_ids)
                # Last: as long as the list names a job, its erase can be repeated.
                pipe.zrem(self._keys.jobs, *job_ids)
                await pipe.execute()

    async def open_jobs(self, after: Cursor | None, count: int) -> list[Cursor]:
        """Up to `count` jobs that have not ended and are newer than `after`, oldest first."""
        lowest = "-inf" if after is None else str(after.created_at)
        found: list[Cursor] = []
        offset = 0
        while len(found) < count:
            with translated():
                rows = await self._redis.zrangebyscore(
                    self._keys.open, lowest, "+inf", start=offset, num=count, withscores=True
                )
            cursors = (Cursor(int(score), member.decode()) for member, score in rows)
            found.extend(cursor for cursor in cursors if after is None or cursor > after)
            offset += len(rows)
            if len(rows) < count:
                break
        return found[:count]

    async def knows(self, job_id: str) -> bool:
        """Whether the list still names the job, also after its record is gone."""
        with translated():
            return await self._redis.zscore(self._keys.jobs, job_id) is not None

    async def page(self, before: Cursor | None, count: int) -> list[Cursor]:
        """Up to `count` jobs older than `before`, newest first."""
        found: list[Cursor] = []
        offset = 0
        highest = "+inf" if before is None else str(before.created_at)
        while len(found) < count:
            with translated():
                rows = await self._redis.zrevrangebyscore(
                    self._keys.jobs, highest, "-inf", start=offset, num=count, withscores=True
                )
            for member, score in rows:
                cursor = Cursor(int(score), member.decode())
                # Of equal times the higher id comes first: those at the cursor's time up to its id were seen.
                if before is None or cursor < before:
                    found.append(cursor)
            offset += len(rows)
            if len(rows) < count:
                break
        return found[:count]

    async def trim(self, now: int) -> int:
        """Forgets jobs that are old enough and whose record is gone. Answers how many."""
        with translated():
            old = await self._redis.zrangebyscore(self._keys.jobs, "-inf", f"({now - self._keep_ms}")
            if not old:
                return 0
            # A job that waited or ran for long, its record renewed, is not gone by its age alone.
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in old:
                    pipe.exists(self._keys.job(job_id.decode()))
                there = await pipe.execute()
            gone = [job_id for job_id, kept in zip(old, there, strict=True) if not kept]
            return int(await self._redis.zrem(self._keys.jobs, *gone)) if gone else 0

    async def remember(self, key: str, job_id: str, body_digest: str) -> Tie:
        """Ties an Idempotency-Key to a job and a body, unless it is tied. Answers what it is tied to."""
        name = self._keys.idempotency(key_digest(key))
        with translated():
            # GET of what stood there before; NX keeps it. Both in one command, so of two racers one wins.
            before = await self._redis.set(name, f"{job_id} {body_digest}", nx=True, get=True, px=self._idempotency_ms)
        if before is None:
            return Tie(job_id, body_digest)
        found_id, found_digest, *mark = before.decode().split(" ")
        return Tie(found_id, found_digest, mark == [_WRITTEN])

    async def settle(self, key: str, tie: Tie) -> None:
        """Notes that the job of an Idempotency-Key is written; its time to live stays."""
        name = self._keys.idempotency(key_digest(key))
        with translated():
            await self._redis.set(name, f"{tie.job_id} {tie.body_digest} {_WRITTEN}", xx=True, keepttl=True)

    async def forget_key(self, digest: str, job_id: str) -> None:
        """Unties an Idempotency-Key, given by its `key_digest`, from this job, which is erased: a repeat is a new one.
        Does nothing if it is tied to another one by now."""
        await self._run("untie", [self._keys.idempotency(digest)], job_id)

    async def beat(self, worker_id: str, details: bytes, now: int, ttl_ms: int) -> None:
        """A worker's sign of life; `details` is JSON. Forgets workers that are long dead."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._keys.worker(worker_id), details, px=ttl_ms)
                pipe.zadd(self._keys.workers, {worker_id: now + ttl_ms})
                pipe.zremrangebyscore(self._keys.workers, "-inf", now)
                pipe.pexpire(self._keys.workers, 10 * ttl_ms)
                await pipe.execute()

    async def others_get_through(self, worker_id: str, now: int) -> bool:
        """Whether another live worker has not said, in its sign of life, that its model refuses it."""
        with translated():
            live = await self._redis.zrangebyscore(self._keys.workers, now, "+inf")
            others = [found for name in live if (found := name.decode(errors="replace")) != worker_id]
            signs = await self._redis.mget([self._keys.worker(other) for other in others]) if others else []
        return any(sign is not None and _gets_through(sign) for sign in signs)

    async def leave(self, worker_id: str) -> None:
        """A worker ends."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(self._keys.worker(worker_id))
                pipe.zrem(self._keys.workers, worker_id)
                await pipe.execute()

    async def may_sweep(self, every_ms: int) -> bool:
        """Whether it is this worker's turn: one sweep for all workers in `every_ms`."""
        with translated():
            return bool(await self._redis.set(self._keys.sweep, b"1", nx=True, px=every_ms))

    async def live_workers(self, now: int) -> int:
        """How many workers have given a sign of life lately."""
        with translated():
            return int(await self._redis.zcount(self._keys.workers, now, "+inf"))


def _gets_through(sign: bytes) -> bool:
    """What a sign of life says; one that cannot be read says nothing."""
    try:
        details = orjson.loads(sign)
    except orjson.JSONDecodeError:
        return False
    return isinstance(details, dict) and not details.get("refused")
