"""A job's log in Redis: what may happen to it, and how it is read.

Each write is one script call, atomic with its publish, and may be repeated after a lost reply without effect.
Only the newest attempt of a job that has not ended may write; anybody may read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from readalong.connection import translated
from readalong.errors import Fenced
from readalong.events import SCHEMA, Draft, Event
from readalong.pipe import Pipe
from readalong.record import Record, parse, rfc3339
from readalong.scripts import Argument, Scripts
from readalong.settings import Settings
from readalong.states import Status


class Verdict(StrEnum):
    """What a claim found."""

    RUN = "run"
    CANCELLED = "cancelled"
    LOST = "lost"
    ENDED = "ended"
    GONE = "gone"


class Claim(NamedTuple):
    """A started attempt. `waited`: seconds since submit. `note`: the cancel flag, or the reason of the loss."""

    verdict: Verdict
    attempt: int = 0
    last_seq: int = 0
    waited: float = 0.0
    note: str = ""


class Appended(NamedTuple):
    """Where the log stands. After a `gap`, send again from `last_seq` + 1. `flag` is the cancel flag, None if unset."""

    gap: bool
    last_seq: int
    flag: str | None


class Submission(NamedTuple):
    """What a new job holds. `request` and `metadata` are JSON."""

    job_id: str
    model: str
    request: bytes
    metadata: bytes
    body_digest: str
    created_at: int
    #: The `key_digest` of its Idempotency-Key, if it came with one.
    key_digest: str = ""


class Log:
    """The logs of all jobs on one Redis."""

    def __init__(self, redis: Redis, settings: Settings, pipe: Pipe | None = None) -> None:
        """`pipe` carries the scripts of a process that calls many; without one they take a pooled connection each."""
        self._redis = redis
        self._run = Scripts(pipe or redis)
        self._keys = settings.keys
        self._ttl_ms = int(settings.job_ttl * 1000)
        self._retention_ms = int(settings.retention * 1000)
        self._max_attempts = settings.max_attempts

    async def submit(self, new: Submission) -> tuple[bool, Record]:
        """Creates the job unless its id exists. Answers whether it did, and the job."""
        queued = {"job_id": new.job_id, "model": new.model, "created_at": rfc3339(new.created_at)}
        fields: dict[str, Argument] = {
            "schema": SCHEMA,
            "id": new.job_id,
            "model": new.model,
            "created_at": new.created_at,
            "request": new.request,
            "metadata": new.metadata,
            "body_digest": new.body_digest,
            "key_digest": new.key_digest,
        }
        flat = [part for pair in fields.items() for part in pair]
        created, found = await self._run(
            "submit", self._keys.of_job(new.job_id), self._ttl_ms, orjson.dumps(queued), *flat
        )
        record = parse(found)
        assert record is not None  # the script answers the hash that it wrote
        return bool(created), record

    async def claim(self, job_id: str, worker: bytes, token: str) -> Claim:
        """Starts the next attempt, fencing out the one before. `worker` is JSON, `token` this claim's alone."""
        answer = await self._run(
            "claim", self._keys.of_job(job_id), worker, token, self._max_attempts, self._retention_ms
        )
        verdict = Verdict(answer[0].decode())
        if len(answer) == 1:
            return Claim(verdict)
        return Claim(verdict, answer[1], answer[2], answer[3] / 1000, answer[4].decode(errors="replace"))

    async def append(self, job_id: str, attempt: int, first: int, drafts: Sequence[tuple[str, bytes]]) -> Appended:
        """Appends events from number `first` on: (type, data as JSON). Raises Fenced, StoreUnavailable."""
        flat = [part for draft in drafts for part in draft]
        return _appended(job_id, await self._run("append", self._keys.of_job(job_id), attempt, first, *flat))

    async def finish(
        self,
        job_id: str,
        attempt: int,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        fields: dict[str, Argument],
    ) -> Appended:
        """Appends the last events; the type of the very last ends the job. Raises Fenced, StoreUnavailable."""
        status = Status(drafts[-1][0])
        flat = [part for pair in fields.items() for part in pair]
        events = [part for draft in drafts for part in draft]
        end = (attempt, first, status, self._retention_ms, len(fields), *flat, *events)
        return _appended(job_id, await self._run("finish", self._keys.of_job(job_id), *end))

    async def hand_over(self, job_id: str, attempt: int, reason: str, *, counts: bool) -> None:
        """Lets the next claim go on as a new attempt for this reason; `counts`: as a lost one.

        Raises Fenced, StoreUnavailable.
        """
        answer = await self._run("handover", self._keys.of_job(job_id), attempt, reason, int(counts))
        _appended(job_id, answer)

    async def cancel(self, job_id: str, by: str, at_ms: int) -> Status | None:
        """Sets the flag, ends a queued job, nudges the workers. Answers the status after it; None: no such job."""
        flag = orjson.dumps({"by": by, "at": rfc3339(at_ms)})
        answer = (await self._run("cancel", self._keys.of_job(job_id), flag, self._retention_ms)).decode()
        if answer == "gone":
            return None
        if answer == Status.RUNNING:
            await self.nudge(job_id)
        return Status(answer)

    async def nudge(self, job_id: str) -> None:
        """Tells the workers to look at this job's flag at once."""
        with translated():
            await self._redis.publish(self._keys.control, orjson.dumps({"look_at": job_id}))

    async def flags(self, job_ids: Sequence[str]) -> dict[str, str]:
        """The cancel flags that are set, of many jobs in one command."""
        with translated():
            values = await self._redis.mget([self._keys.cancel(job_id) for job_id in job_ids])
        return {
            job_id: value.decode(errors="replace")
            for job_id, value in zip(job_ids, values, strict=True)
            if value is not None
        }

    async def keep_alive(self, job_ids: Sequence[str]) -> list[str]:
        """Renews the time to live of jobs that wait or run. Answers the ids whose record is gone."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.pexpire(self._keys.job(job_id), self._ttl_ms)
                    pipe.pexpire(self._keys.events(job_id), self._ttl_ms)
                    pipe.pexpire(self._keys.cancel(job_id), self._ttl_ms)
                answers = await pipe.execute()
        return [job_id for job_id, there in zip(job_ids, answers[::3], strict=True) if not there]

    async def record(self, job_id: str) -> Record | None:
        hgetall: Any = self._redis.hgetall  # redis-py's types do not know that this client is asynchronous
        with translated():
            return parse(await hgetall(self._keys.job(job_id)))

    async def records(self, job_ids: Sequence[str]) -> list[Record | None]:
        """Many records in one round trip; None for each that is gone."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hgetall(self._keys.job(job_id))
                return [parse(fields) for fields in await pipe.execute()]

    async def read(self, job_id: str, after: int, count: int) -> list[Event]:
        """Up to `count` events after position `after`, in order."""
        with translated():
            entries = await self._redis.xrange(self._keys.events(job_id), min=f"{after + 1}-0", max="+", count=count)
        return [_event(entry) for entry in entries]

    async def newest(self, job_id: str, count: int) -> list[Event]:
        """The newest `count` events, in order."""
        with translated():
            entries = await self._redis.xrevrange(self._keys.events(job_id), count=count)
        return [_event(entry) for entry in reversed(entries)]

    async def erase(self, job_id: str) -> None:
        """Deletes the record, the log and the flag."""
        with translated():
            await self._redis.unlink(*self._keys.of_job(job_id)[:3])


def encode(drafts: Sequence[Draft]) -> list[tuple[str, bytes]]:
    """Drafts as `append` and `finish` take them."""
    return [(draft.type, draft.encode()) for draft in drafts]


def _event(entry: tuple[bytes, dict[bytes, bytes]]) -> Event:
    entry_id, fields = entry
    return Event(int(entry_id[:-2]), fields[b"type"].decode(), fields[b"data"])


def _text(flag: bytes | None) -> str | None:
    return None if flag is None else flag.decode(errors="replace")


def _appended(job_id: str, answer: list[Any]) -> Appended:
    verdict = answer[0]
    if verdict in (b"ok", b"gap"):
        return Appended(verdict == b"gap", answer[1], _text(answer[2]))
    raise Fenced(f"job {job_id}: this attempt may not write: {verdict.decode()}", code=verdict.decode())
