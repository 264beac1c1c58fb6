"""A job's log in Redis: what may happen to it, and how it is read.

Each write is one script call, atomic with its publish, and may be repeated after a lost reply without effect.
Only the newest attempt of a job that has not ended may write; anybody may read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from readalong.connection import translated
from readalong.entries import Entry, ends, event_of, mapped, quotes, said, stored
from readalong.errors import Fenced, JobNotFound, UnknownSchema
from readalong.events import SCHEMA, SPAN, Draft, Event
from readalong.link import pack
from readalong.pipe import Pipe
from readalong.record import LISTED, Record, Standing, parse, rfc3339, standing
from readalong.scripts import Argument, Scripts, digest_of
from readalong.settings import Settings
from readalong.states import ENDED, Status
from readalong.terms import Terms


class Verdict(StrEnum):
    """What a claim found."""

    RUN = "run"
    CANCELLED = "cancelled"
    LOST = "lost"
    ENDED = "ended"
    GONE = "gone"
    UNKNOWN = "unknown"
    LATE = "late"


class Claim(NamedTuple):
    """A started attempt. `waited`: seconds since submit. `note`: the cancel flag, or the reason of the loss.
    `model`, `request`, `begun` (the event that it wrote) and `left` (seconds to the job's deadline, or None) are there
    if the verdict is RUN. `queued`, `first_token`: seconds from submit to the first claim, and, of an attempt that this
    one ends the job for, to its first token, or None."""

    verdict: Verdict
    attempt: int = 0
    last_seq: int = 0
    waited: float = 0.0
    note: str = ""
    model: str = ""
    request: bytes = b""
    begun: tuple[str, bytes] | None = None
    left: float | None = None
    queued: float | None = None
    first_token: float | None = None
    worker: bytes = b""
    #: Its own, unlike the attempt's number, which comes twice when Redis has lost a claim.
    token: str = ""

    @property
    def fence(self) -> str:
        """What its writes name, so that no other attempt's count as its own."""
        return f"{self.attempt}:{self.token}"


class Appended(NamedTuple):
    """Where the log stands. After a `gap`, send again from `last_seq` + 1; if it is `behind`, restore first.
    `flag` is the cancel flag, None if unset."""

    gap: bool
    last_seq: int
    flag: str | None
    behind: bool = False


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
    terms: Terms = Terms()


_APPEND: Final = digest_of("append")

#: Milliseconds for which copies of an erased job's submit are kept out: for so long the kernel of a machine that was
#: cut off may go on sending what its process has given up (tcp_retries2).
_ERASED_MS: Final = 900_000
#: Keys that one look for forgotten flags goes through.
_LOOKED_AT: Final = 1000
#: The writer: `Claim.fence`, or the number of its attempt alone.
Fence = str | int


class Log:
    """The logs of all jobs on one Redis."""

    def __init__(self, redis: Redis, settings: Settings, pipe: Pipe | None = None) -> None:
        """`pipe` carries the calls of a process that makes many; without one they take a pooled connection each."""
        self._redis = redis
        self._run = Scripts(pipe or redis)
        self._pipe = pipe
        self._ask: Callable[..., Awaitable[Any]] = (pipe or redis).execute_command
        self._keys = settings.keys
        self._ttl_ms = int(settings.job_ttl * 1000)
        self._retention_ms = int(settings.retention * 1000)
        self._max_attempts = settings.max_attempts

    async def submit(self, new: Submission) -> tuple[bool, Record]:
        """Creates the job unless its id exists. Answers whether it did, and the job.

        Raises JobNotFound for one that was erased, and StoreUnavailable.
        """
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
            **new.terms.fields(new.created_at),
        }
        flat = [part for pair in fields.items() for part in pair]
        created, found = await self._run(
            "submit", self._keys.of_job(new.job_id), self._ttl_ms, orjson.dumps(queued), *flat
        )
        record = parse(found)
        if record is None:
            raise JobNotFound(f"Job {new.job_id} is erased.")
        return bool(created), record

    async def claim(self, job_id: str, worker: bytes, token: str, until: int = 0) -> Claim:
        """Starts the next attempt, fencing out the one before. `worker` is JSON, `token` this claim's alone.

        `until` is the end of the job's lease, in milliseconds of Redis' clock; 0: whenever it comes.
        """
        answer = await self._run(
            "claim", self._keys.of_job(job_id), worker, token, self._max_attempts, self._retention_ms, SCHEMA, until
        )
        verdict = Verdict(answer[0].decode())
        if len(answer) == 1:
            return Claim(verdict)
        note = answer[4].decode(errors="replace")
        started = Claim(verdict, answer[1], answer[2], answer[3] / 1000, note, worker=worker, token=token)
        if verdict is not Verdict.RUN:
            return started._replace(queued=_seconds(answer[5]), first_token=_seconds(answer[6]))
        begun = (answer[7].decode(), answer[8])
        left, queued = _seconds(answer[9]), _seconds(answer[10])
        return started._replace(model=answer[5].decode(), request=answer[6], begun=begun, left=left, queued=queued)

    async def restore(self, job_id: str, claim: Claim) -> Appended:
        """Takes up again a claim that Redis has lost. Answers a gap: where the log stands, all the rest of which the
        caller sends again. Raises Fenced, also if an older attempt has written since, and StoreUnavailable."""
        lost = (claim.attempt, claim.fence, claim.worker, claim.last_seq - 1)
        return _appended(job_id, await self._run("restore", self._keys.of_job(job_id), *lost))

    async def append(self, job_id: str, fence: Fence, first: int, drafts: Sequence[tuple[str, bytes]]) -> Appended:
        """Appends events from number `first` on: (type, data as JSON). Raises Fenced, StoreUnavailable."""
        flat = [part for draft in drafts for part in draft]
        return _appended(job_id, await self._run("append", self._keys.of_job(job_id), fence, first, "1", *flat))

    def send(
        self,
        job_id: str,
        fence: Fence,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        on_answer: Callable[[Appended | Exception], None],
        *,
        timed: bool = False,
    ) -> bool:
        """Sends an append if there is a connection, and answers whether there was. Each token takes this way.
        `timed`: `last_event_at` becomes its time. `on_answer` hears what `append` would answer or raise; any exception
        but Fenced means: call `append`, which connects, and says what fails. To append twice is to append once."""
        if self._pipe is None:
            return False
        keys = self._keys.of_job(job_id)
        flat = [part for draft in drafts for part in draft]
        packed = pack(("EVALSHA", _APPEND, len(keys), *keys, fence, first, int(timed), *flat))
        return self._pipe.send(
            packed, lambda answer: on_answer(answer if isinstance(answer, Exception) else _outcome(job_id, answer))
        )

    async def finish(
        self,
        job_id: str,
        fence: Fence,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        fields: dict[str, Argument],
    ) -> Appended:
        """Appends the last events; the type of the very last ends the job. Raises Fenced, StoreUnavailable."""
        status = Status(drafts[-1][0])
        flat = [part for pair in fields.items() for part in pair]
        events = [part for draft in drafts for part in draft]
        end = (fence, first, status, self._retention_ms, len(fields), *flat, *events)
        return _appended(job_id, await self._run("finish", self._keys.of_job(job_id), *end))

    async def hand_over(self, job_id: str, fence: Fence, reason: str, *, counts: bool) -> None:
        """Lets the next claim go on as a new attempt for this reason; `counts`: as a lost one.

        Nothing is left to hand over if Redis has lost the claim. Raises Fenced, StoreUnavailable.
        """
        answer = await self._run("handover", self._keys.of_job(job_id), fence, reason, int(counts))
        _appended(job_id, answer)

    async def cancel(self, job_id: str, by: str, at_ms: int) -> Status | None:
        """Sets the flag, ends a queued job, nudges the workers. Answers the status after it; None: no such job.

        A queued job that another version wrote keeps the flag until a worker of that version sees it.
        """
        flag = orjson.dumps({"by": by, "at": rfc3339(at_ms)})
        answer = (await self._run("cancel", self._keys.of_job(job_id), flag, self._retention_ms, SCHEMA)).decode()
        if answer == "gone":
            return None
        if answer == Status.RUNNING:
            await self.nudge(job_id)
        return Status(answer)

    async def expire(self, job_id: str) -> bool:
        """Ends a queued job whose deadline has passed. Answers whether it did."""
        return bool(await self._run("expire", self._keys.of_job(job_id), self._retention_ms))

    async def nudge(self, job_id: str) -> None:
        """Tells the workers to look at this job's flag at once."""
        with translated():
            await self._redis.publish(self._keys.control, orjson.dumps({"look_at": job_id}))

    async def for_watchers(self, job_ids: Sequence[str]) -> list[str]:
        """Those of the ids whose job has not ended and is to end when nobody watches it."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), ["status", "cancel_on_disconnect"])
                answers = await pipe.execute()
        return [
            job_id
            for job_id, (status, wanted) in zip(job_ids, answers, strict=True)
            if wanted == b"1" and status is not None and status.decode() not in ENDED
        ]

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
        """Renews the time to live of jobs that wait or run, not of others. Answers the ids whose record is gone."""
        names = [name for job_id in job_ids for name in self._keys.of_job(job_id)[:3]]
        answers = await self._run("keep", names, self._ttl_ms)
        return [job_id for job_id, there in zip(job_ids, answers, strict=True) if not there]

    async def limit_flags(self, cursor: int) -> int:
        """Gives a time to live to cancel flags that have none, among some of Redis' keys; a person may have set one for
        a job that is over, or was never there. `cursor` is where to go on, 0 at first; answers the next."""
        with translated():
            cursor, names = await self._redis.scan(cursor, match=self._keys.cancel("*"), count=_LOOKED_AT)
            if names:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.pexpire(name, self._ttl_ms, nx=True)
                    await pipe.execute()
        return int(cursor)

    async def gone(self, job_ids: Sequence[str]) -> list[str]:
        """Those of the ids whose record is gone; mostly none, which takes one command."""
        names = [self._keys.job(job_id) for job_id in job_ids]
        with translated():
            if not names or await self._ask("EXISTS", *names) == len(names):
                return []
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.exists(name)
                answers = await pipe.execute()
        return [job_id for job_id, there in zip(job_ids, answers, strict=True) if not there]

    async def record(self, job_id: str) -> Record | None:
        """The job; None if it is gone. Raises UnknownSchema, StoreUnavailable."""
        with translated():
            return parse(await self._ask("HGETALL", self._keys.job(job_id)))

    async def records(self, job_ids: Sequence[str]) -> list[Record | None]:
        """Many records in one round trip, without their requests; None for each that is gone, or that another version
        wrote."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), [*LISTED])
                return [_readable(values) for values in await pipe.execute()]

    async def standings(self, job_ids: Sequence[str]) -> list[Standing | None]:
        """How many jobs stand, in one command; None for each that is gone."""
        answers = await self._run("standings", [self._keys.job(job_id) for job_id in job_ids])
        return [standing(answer) for answer in answers]

    async def compact(self, job_id: str, fence: Fence, first: int, events: Sequence[Event]) -> bool:
        """Stores an ended job's events from number `first` on in this form: all that its last attempt wrote, merged.

        Atomic, and without effect unless the log ends with that attempt's very last event and is not compacted yet.
        Answers whether it did. Raises StoreUnavailable.
        """
        keys = [*self._keys.of_job(job_id), self._keys.compacted(job_id)]
        return bool(await self._run("compact", keys, fence, first, events[-1].seq, *stored(events)))

    async def read(self, job_id: str, after: int, count: int) -> list[Event]:
        """Up to `count` events after position `after`, in order, each as it was appended."""
        events: list[Event] = []
        for event in await self.read_merged(job_id, after, count):
            events += event.expand()
        return events[:count]

    async def read_merged(self, job_id: str, after: int, count: int) -> list[Event]:
        """The events after position `after`, as they are stored: up to `count` of them, that cover `count` numbers or
        a few more if they are merged, or all to the newest."""
        # A merged one that begins before the last number asked for ends at the next multiple.
        last = -(-(after + count) // SPAN) * SPAN
        with translated():
            entries = await self._ask(
                "XRANGE", self._keys.events(job_id), f"{after + 1}-0", f"{last}-0", "COUNT", count
            )
        events = await self._events(job_id, mapped(entries))
        if events:
            events[0] = events[0].rest(after)
        return events

    async def newest(self, job_id: str, count: int) -> list[Event]:
        """The newest `count` events, in order, each as it was appended."""
        with translated():
            entries = await self._ask("XREVRANGE", self._keys.events(job_id), "+", "-", "COUNT", count)
        events: list[Event] = []
        for event in await self._events(job_id, mapped(entries[::-1])):
            events += event.expand()
        return events[-count:]

    async def _events(self, job_id: str, entries: list[Entry]) -> list[Event]:
        whole = ""
        if any(quotes(entry) for entry in entries):
            end = entries[-1]
            if not ends(end):
                with translated():
                    newest = await self._ask("XREVRANGE", self._keys.events(job_id), "+", "-", "COUNT", 1)
                end = mapped(newest)[0] if newest else end  # erased meanwhile
            whole = said(end)
        return [event_of(entry, whole) for entry in entries]

    async def erase(self, job_id: str) -> None:
        """Deletes the record and the log, and keeps late copies of the submit out."""
        await self._run("erase", self._keys.of_job(job_id), _ERASED_MS)


def encode(drafts: Sequence[Draft]) -> list[tuple[str, bytes]]:
    """Drafts as `append` and `finish` take them."""
    return [(draft.type, draft.encode()) for draft in drafts]


def _readable(values: list[bytes | None]) -> Record | None:
    try:
        return parse({name: value for name, value in zip(LISTED, values, strict=True) if value is not None})
    except UnknownSchema:
        return None


def _seconds(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000


def _text(flag: bytes | None) -> str | None:
    return None if flag is None else flag.decode(errors="replace")


def _appended(job_id: str, answer: list[Any]) -> Appended:
    """Raises Fenced."""
    outcome = _outcome(job_id, answer)
    if isinstance(outcome, Fenced):
        raise outcome
    return outcome


def _outcome(job_id: str, answer: list[Any]) -> Appended | Fenced:
    verdict = answer[0]
    if verdict in (b"ok", b"gap", b"behind"):
        return Appended(verdict != b"ok", answer[1], _text(answer[2]), verdict == b"behind")
    return Fenced(f"job {job_id}: this attempt may not write: {verdict.decode()}", code=verdict.decode())
