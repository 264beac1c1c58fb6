"""The sorted sets that list jobs: all of them, those that have not ended, those of a state and of a model.

Each list has a key of its own, written beside the scripts. A list may lag behind a job's hash; the sweep mends it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from readalong.core.errors import StoreUnavailable
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.presence import first_ms, set_ttl_ms

logger = logging.getLogger(__name__)

#: Scores beyond this, or below zero, are no times: a person has put them there.
_LATEST: Final = 2**53
#: Members of a list that one look for expired ones goes through, and looks at it in one turn.
_SLICE: Final = 500
_SLICES: Final = 20
#: Jobs that one call puts where their hashes say: Redis serves no other call meanwhile.
_REFILED: Final = 100
#: Keys that one look at what there is goes through.
_SCANNED: Final = 1000


class Cursor(NamedTuple):
    """A place in a list: the time of creation (ms) and the id of the last job before it."""

    created_at: int
    job_id: str

    def __str__(self) -> str:
        return f"{self.created_at}:{self.job_id}"


class Found(NamedTuple):
    """What a look at some of Redis' keys has found: ids of jobs, by hash or flag, names of cancel flags, names of the
    lists of models."""

    jobs: list[str]
    flags: list[str]
    models: list[str]


class JobIndex:
    """All lists of one prefix. Each call raises StoreUnavailable."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._watched_ms = first_ms(settings, None)
        self._watched_ttl_ms = set_ttl_ms(settings)
        self._retention_ms = int(settings.retention * 1000)
        self._keep_ms = int((settings.retention + settings.job_ttl) * 1000)
        keys = self._keys
        self._lists = [keys.jobs, keys.active, keys.presence, *keys.by_state, keys.ids]
        #: How far the trimming of each list has come.
        self._trimmed: dict[str, Cursor] = {}

    async def now(self) -> int:
        """Redis' time in milliseconds since the epoch."""
        return await self._redis.now()

    async def refile(self, *job_ids: str) -> list[Cursor]:
        """Puts each job where its hash says: into the list, the open jobs, those of its state and of its model. One
        whose hash is gone leaves all but the list; an erased one leaves that too. Returns the open jobs that no list of
        open jobs had."""
        strays: list[Cursor] = []
        for at in range(0, len(job_ids), _REFILED):
            some = job_ids[at : at + _REFILED]
            keys = [
                *self._lists,
                *(name for job_id in some for name in (self._keys.job(job_id), self._keys.cancel(job_id))),
            ]
            times = (self._keep_ms, self._watched_ms, self._watched_ttl_ms)
            names = (self._keys.model_jobs, *times, self._keys.stats_names)
            flat = await self._redis.call("refile", keys, *names, *some)
            strays += [Cursor(int(at), job_id.decode()) for job_id, at in zip(flat[::2], flat[1::2], strict=True)]
        return strays

    async def leave_watched(self, job_id: str) -> None:
        """Removes a job that is about to be erased from those that end without a watcher."""
        await self._redis.command("ZREM", self._keys.presence, job_id)

    async def remove(self, *job_ids: str, model: str = "") -> None:
        """Forgets these jobs; `model` is the `model_digest` of theirs, if that is known."""
        keys = [*self._lists, self._keys.wake]
        await self._redis.call("remove", [*keys, self._keys.model_jobs + model] if model else keys, *job_ids)

    async def open_jobs(self, after: Cursor | None, count: int) -> list[Cursor]:
        """Returns up to `count` jobs that have not ended and are newer than `after`, oldest first."""
        return await self._walk(self._keys.active, after, count, newest_first=False)

    async def contains(self, job_id: str) -> bool:
        """Returns whether the list still names the job, also after its record is gone."""
        return await self._redis.command("ZSCORE", self._keys.jobs, job_id) is not None

    async def page(
        self,
        before: Cursor | None,
        count: int,
        *,
        state: str | None = None,
        model: str | None = None,
        thread: str | None = None,
        since: int = 0,
        until: int = _LATEST,
        check: Callable[[], Awaitable[None]] | None = None,
        newest_first: bool = True,
    ) -> list[Cursor]:
        """Returns up to `count` jobs older than `before`, newest first, created at `since` or later and before `until`;
        or those that are newer, oldest first.

        Of this state or this model, as far as a list of these knows; of both: of the one that fewer jobs have. Of the
        thread with this digest, whatever the others say.
        `check` is awaited after each look that has not found enough, and what it raises ends them.
        """
        if thread is not None:
            name = self._keys.thread_jobs(thread)
        elif state is not None and model is not None:
            lists = (self._keys.jobs_in(state), self._keys.jobs_of(model))
            sizes = [await self._redis.command("ZCARD", name) for name in lists]
            name = lists[sizes.index(min(sizes))]
        elif state is not None:
            name = self._keys.jobs_in(state)
        else:
            name = self._keys.jobs if model is None else self._keys.jobs_of(model)
        return await self._walk(
            name, before, count, newest_first=newest_first, lowest=since, highest=until - 1, check=check
        )

    async def beginning(self, text: str, count: int) -> list[str]:
        """Returns up to `count` ids that begin with this text, which is the beginning of one."""
        # Behind the beginning, no byte of an id is as high.
        found = await self._redis.command("ZRANGEBYLEX", self._keys.ids, f"[{text}", f"({text}\x7f", "LIMIT", 0, count)
        return [job_id for member in found if is_job_id(job_id := member.decode(errors="replace"))]

    async def trim(self, now: int) -> int:
        """Removes old jobs whose record is gone from the lists. Returns their number.

        Each turn goes on where the last one stopped, and looks at some ten thousand of each list at most.
        """
        removed = 0
        for name in (self._keys.jobs, *self._keys.by_state):
            # The list goes on naming what has expired, for a while; the others name what there is.
            age = self._keep_ms if name == self._keys.jobs else self._retention_ms
            removed += await self._trim(name, now - age)
        for name in (self._keys.jobs, self._keys.active, *self._keys.by_state):
            # What no clock has given was never one of ours, or its hash knows better: the sweep finds that.
            for low, high in (("-inf", "(0"), (f"({_LATEST}", "+inf")):
                if strays := await self._redis.command("ZRANGEBYSCORE", name, low, high, "LIMIT", 0, _SLICE):
                    await self._redis.command("ZREM", name, *strays)
        return removed

    async def trim_model(self, name: str, now: int) -> int:
        """Trims the list of a model as `trim` does. `name` is its name in Redis. Returns the number of removed jobs."""
        return await self._trim(name, now - self._retention_ms)

    async def scan(self, cursor: int) -> tuple[int, Found]:
        """Looks at some of Redis' keys from `cursor` on, which is 0 at first. Returns the next cursor, and those keys
        that may belong to unlisted jobs."""
        pattern = f"{self._keys.prefix}:job*"
        cursor, names = await self._redis.command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
        begin, end = self._keys.job("?").split("?")
        found = Found([], [], [])
        for name in (name.decode(errors="replace") for name in names):
            job_id, tail = (
                name.removeprefix(begin).split(end, 1) if name.startswith(begin) and end in name else ("", "")
            )
            if name.startswith(self._keys.model_jobs):
                found.models.append(name)
            elif is_job_id(job_id) and not tail:
                found.jobs.append(job_id)
            elif name == self._keys.cancel(job_id):
                found.flags.append(name)
                if is_job_id(job_id):
                    found.jobs.append(job_id)  # its erase may have broken off
        return int(cursor), found

    async def expire_stray_flags(self, names: list[str], ttl_ms: int) -> None:
        """Gives a time to live to those of these cancel flags that have none: a person may have set one for a job that
        is over, or was never there."""
        await self._redis.pipeline([("PEXPIRE", name, ttl_ms, "NX") for name in names])

    async def _trim(self, name: str, before: int) -> int:
        removed = 0
        for _ in range(_SLICES):
            cursor = self._trimmed.pop(name, None)
            old = await self._walk(name, cursor, _SLICE, newest_first=False, highest=before - 1)
            if old:
                # A job that waited or ran for long, its record renewed, is not gone by its age alone.
                there = await self._redis.pipeline([("EXISTS", self._keys.job(at.job_id)) for at in old])
                gone = [at.job_id for at, kept in zip(old, there, strict=True) if not kept]
                if gone:
                    removed += int(await self._redis.command("ZREM", name, *gone))
                    await self._redis.command("ZREM", self._keys.ids, *gone)
            if len(old) < _SLICE:
                break
            self._trimmed[name] = old[-1]
        return removed

    async def _walk(
        self,
        name: str,
        start: Cursor | None,
        count: int,
        *,
        newest_first: bool,
        lowest: int = 0,
        highest: int = _LATEST,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> list[Cursor]:
        """Returns up to `count` members of a sorted set that follow `start`. What cannot be a job's id is removed."""
        if start is not None and newest_first:
            highest = min(highest, start.created_at)
        elif start is not None:
            lowest = max(lowest, start.created_at)
        if newest_first:
            command: tuple[str | int, ...] = ("ZREVRANGEBYSCORE", name, highest, lowest)
        else:
            command = ("ZRANGEBYSCORE", name, lowest, highest)
        found: list[Cursor] = []
        offset = 0
        while len(found) < count:
            flat = await self._redis.command(*command, "WITHSCORES", "LIMIT", offset, count)
            strays = []
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                job_id = member.decode(errors="replace")
                if not is_job_id(job_id):
                    strays.append(member)
                    continue
                cursor = Cursor(int(float(score)), job_id)
                # Of equal times the higher id comes later, or first: those at the cursor's time up to its id were seen.
                if start is None or (cursor < start if newest_first else cursor > start):
                    found.append(cursor)
            offset += len(flat) // 2
            if strays:
                offset -= await self._drop(name, strays)
            if len(flat) < 2 * count:
                break
            if check is not None and len(found) < count:
                await check()
        return found[:count]

    async def _drop(self, name: str, strays: list[bytes]) -> int:
        """Removes members that are no ids, lest they be met again and again. Returns how many."""
        logger.error(
            "key %s: %d members that are no ids, such as %r; they are removed", name, len(strays), strays[0][:80]
        )
        try:
            return int(await self._redis.command("ZREM", name, *strays))
        except StoreUnavailable as error:  # a replica, say, from which one may read
            logger.debug("%s", error)
            return 0

    async def try_lock_sweep(self, every_ms: int) -> bool:
        """Locks the sweep of all workers for `every_ms`. Returns whether this worker has the lock."""
        if await self._redis.command("SET", self._keys.sweep, "1", "NX", "PX", every_ms):
            return True
        # A lock that a person set without a time to live would keep all workers from sweeping for ever.
        await self._redis.command("PEXPIRE", self._keys.sweep, every_ms, "NX")
        return False
