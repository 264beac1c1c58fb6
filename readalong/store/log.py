"""A job's log in Redis.

Each write is one script call, atomic with its publish. A repetition after a lost reply has no effect.
Only the newest attempt of a job that has not ended may write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

import orjson

from readalong.core.errors import Fenced, JobNotFound
from readalong.core.events import SCHEMA, Event, NewEvent
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.redis.facade import Argument, RedisFacade
from readalong.redis.protocol import pack
from readalong.redis.scripts import digest_of
from readalong.store.broken_keys import readable
from readalong.store.entries import encode_entries
from readalong.store.job_record import LISTED, Record
from readalong.store.log_reader import LogReader, record_of
from readalong.store.submission import Submission


class ClaimStatus(StrEnum):
    """What a claim found."""

    RUN = "run"
    CANCELLED = "cancelled"
    LOST = "lost"
    ENDED = "ended"
    GONE = "gone"
    UNKNOWN = "unknown"
    LATE = "late"


class ClaimTimes(NamedTuple):
    """Seconds. `waited`: from the submit to this claim. `queued`: from the submit to the first claim. `first_token`:
    from the submit to the first token of an earlier attempt, if this attempt ends the job for it. `left`: to the job's
    deadline."""

    waited: float = 0.0
    queued: float | None = None
    first_token: float | None = None
    left: float | None = None


class Claim(NamedTuple):
    """A started attempt. `note` is the cancel flag, or the reason of the loss.

    `model`, `request` and `begun`, the event that the claim wrote, are there if the status is RUN.
    """

    status: ClaimStatus
    attempt: int = 0
    last_seq: int = 0
    note: str = ""
    model: str = ""
    request: bytes = b""
    begun: tuple[str, bytes] | None = None
    times: ClaimTimes = ClaimTimes()
    worker: bytes = b""
    #: This claim's alone. The attempt's number comes twice when Redis has lost a claim.
    token: str = ""
    #: The digest of the thread whose turn it is, and how many of its messages stand before the thread's.
    thread_digest: str = ""
    leading: int = 0

    @property
    def fence(self) -> str:
        """The name of the attempt in its writes, so that no other attempt's writes count as its own."""
        return f"{self.attempt}:{self.token}"


AppendStatus = Literal["ok", "gap", "behind"]


class AppendResult(NamedTuple):
    """The end of the log after a write.

    `gap`: the log ends earlier than the writer thinks; send again from `last_seq` + 1. `behind`: Redis has lost the
    claim too; `reclaim` first. `cancel_flag` is None if it is not set.
    """

    status: AppendStatus
    last_seq: int
    cancel_flag: str | None


#: By the first word of a script's reply.
_STATUSES: Final[dict[bytes, AppendStatus]] = {b"ok": "ok", b"gap": "gap", b"behind": "behind"}
_APPEND: Final = digest_of("append")

#: Milliseconds for which copies of an erased job's submit are kept out: for so long the kernel of a machine that was
#: cut off may go on sending what its process has given up (tcp_retries2).
_ERASED_MS: Final = 900_000
#: Jobs for which the beginning of an append is kept.
_MOST_HEADS: Final = 4096
#: The writer: `Claim.fence`, or the number of its attempt alone.
Fence = str | int


class Log(LogReader):
    """The logs of all jobs on one Redis. A job with broken keys makes each call about it raise BrokenJob."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        super().__init__(redis, settings)
        self._ttl_ms = int(settings.job_ttl * 1000)
        self._retention_ms = int(settings.retention * 1000)
        self._max_attempts = settings.max_attempts
        self._heads: dict[tuple[str, Fence], tuple[int, bytes]] = {}

    async def submit(self, new: Submission) -> tuple[bool, Record]:
        """Creates the job unless its id exists. Returns whether it did, and the job.

        Raises JobNotFound if the job was erased, or lost by Redis, since another copy of the submit; StoreUnavailable.
        """
        flat = [part for pair in new.fields().items() for part in pair]
        created_at = await self._do(
            "submit", new.job_id, self._ttl_ms, new.created_at, new.deadline_ms, new.queued(), *flat
        )
        if created_at > 0:
            return True, new.record(created_at)
        record = await self.record(new.job_id) if created_at == 0 else None
        if record is None:
            raise JobNotFound(f"Job {new.job_id} is gone.")
        return False, record

    async def claim(self, job_id: str, worker: bytes, token: str, until: int = 0) -> Claim:
        """Starts the next attempt, fencing out the one before. `worker` is JSON, `token` this claim's alone.

        `until` is the end of the job's lease, in milliseconds of Redis' clock; 0: whenever it comes.
        """
        answer = await self._do("claim", job_id, worker, token, self._max_attempts, self._retention_ms, SCHEMA, until)
        with readable(job_id):
            return _claim(answer, worker, token)

    async def reclaim(self, job_id: str, claim: Claim) -> AppendResult:
        """Restores a claim that a failover has lost. Returns the status `gap`: the caller sends everything after
        `last_seq` again. Raises Fenced, also if an older attempt has written since, and StoreUnavailable."""
        lost = (claim.attempt, claim.fence, claim.worker, claim.last_seq - 1)
        return _result(job_id, await self._do("reclaim", job_id, *lost))

    async def append(self, job_id: str, fence: Fence, first: int, drafts: Sequence[tuple[str, bytes]]) -> AppendResult:
        """Appends events from number `first` on: (type, data as JSON). Raises Fenced, StoreUnavailable."""
        flat = [part for draft in drafts for part in draft]
        return _result(job_id, await self._do("append", job_id, fence, first, "1", *flat))

    def send(
        self,
        job_id: str,
        fence: Fence,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        on_answer: Callable[[AppendResult | Exception], None],
        *,
        timed: bool = False,
        progress: bytes = b"",
    ) -> bool:
        """Sends an append if there is a connection, and returns whether there was. Each token takes this way.

        `timed`: sets `last_event_at`, and `progress` unless that is empty. `on_answer` gets what `append` would return
        or raise. After any exception but Fenced, call `append`: it connects, and repeating an append has no effect.
        """
        flat = [part for draft in drafts for part in draft]
        rest = pack((first, (progress or b"1") if timed else b"0", *flat)).partition(b"\n")[2]
        size, head = self._append_head(job_id, fence)
        return self._redis.send(
            b"*%d\r\n%b%b" % (size + 2 + len(flat), head, rest),
            lambda answer: on_answer(answer if isinstance(answer, Exception) else _result_or_fenced(job_id, answer)),
        )

    def _append_head(self, job_id: str, fence: Fence) -> tuple[int, bytes]:
        """Returns the number of the arguments with which each append of a job begins, and these, packed: packing them
        anew would take most of the time."""
        head = self._heads.get((job_id, fence))
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            keys = self._keys.of_job(job_id)
            arguments = ("EVALSHA", _APPEND, len(keys), *keys, fence)
            head = self._heads[job_id, fence] = len(arguments), pack(arguments).partition(b"\n")[2]
        return head

    async def finish(
        self,
        job_id: str,
        fence: Fence,
        first: int,
        drafts: Sequence[tuple[str, bytes]],
        fields: dict[str, Argument],
    ) -> AppendResult:
        """Appends the last events; the type of the very last ends the job. Raises Fenced, StoreUnavailable."""
        status = Status(drafts[-1][0])
        flat = [part for pair in fields.items() for part in pair]
        events = [part for draft in drafts for part in draft]
        end = (fence, first, status, self._retention_ms, len(fields), *flat, *events)
        return _result(job_id, await self._do("finish", job_id, *end))

    async def requeue(self, job_id: str, fence: Fence, reason: str, *, counts: bool) -> None:
        """Lets the next claim go on as a new attempt for this reason; `counts`: as a lost one.

        Nothing is left to hand over if Redis has lost the claim. Raises Fenced, StoreUnavailable.
        """
        answer = await self._do("requeue", job_id, fence, reason, int(counts))
        _result(job_id, answer)

    async def cancel(self, job_id: str, by: str) -> Status | None:
        """Sets the flag, ends a queued job, nudges the workers. Returns the status after it; None: no such job.

        A queued job that another version wrote keeps the flag until a worker of that version sees it.
        """
        status, _ = await self._cancel(job_id, by)
        return status

    async def cancelled(self, job_id: str, by: str) -> tuple[Status, Record] | None:
        """Cancels as `cancel` does. Returns the status and the job after it; None: no such job. Raises UnknownSchema,
        although the flag is set."""
        status, values = await self._cancel(job_id, by, *LISTED)
        with readable(job_id):
            record = None if values is None else record_of(job_id, values)
        return None if status is None or record is None else (status, record)

    async def _cancel(self, job_id: str, by: str, *fields: bytes) -> tuple[Status | None, list[bytes | None] | None]:
        who = orjson.dumps(by)
        answer, values = await self._do(
            "cancel", job_id, who, self._retention_ms, SCHEMA, self._keys.control, job_id, *fields
        )
        with readable(job_id):
            return None if answer == b"gone" else Status(answer.decode()), values

    async def set_metadata(self, job_id: str, metadata: bytes) -> bool:
        """Replaces a job's metadata, as JSON. Returns whether there is such a job."""
        return bool(await self._do("set_metadata", job_id, metadata))

    async def expire(self, job_id: str) -> bool:
        """Ends a queued job whose deadline has passed. Returns whether it did."""
        return bool(await self._do("expire", job_id, self._retention_ms))

    async def keep_alive(self, job_ids: Sequence[str]) -> list[str]:
        """Renews the time to live of the jobs that wait or run. Returns the ids whose record is gone."""
        names = [name for job_id in job_ids for name in self._keys.of_job(job_id)[:3]]
        answers = await self._redis.call("keep_alive", names, self._ttl_ms)
        return [job_id for job_id, there in zip(job_ids, answers, strict=True) if not there]

    async def compact(self, job_id: str, fence: Fence, first: int, events: Sequence[Event]) -> bool:
        """Stores an ended job's events from number `first` on in this form: all that its last attempt wrote, merged.

        Atomic, and without effect unless the log ends with that attempt's very last event and is not compacted yet.
        Returns whether it did. Raises StoreUnavailable.
        """
        keys = [*self._keys.of_job(job_id), self._keys.compacted(job_id)]
        with readable(job_id):
            return bool(await self._redis.call("compact", keys, fence, first, events[-1].seq, *encode_entries(events)))

    async def close_turn(self, job_id: str) -> None:
        """Notes that the job's turn is recorded in its thread."""
        with readable(job_id):
            await self._redis.command("HDEL", self._keys.job(job_id), "thread_open")

    async def delete(self, job_id: str, model: str = "") -> str:
        """Deletes the record and the log, tells the watchers, and keeps late copies of the submit and the enqueue out.

        `model`: the `model_digest`, "" if it is unknown. Returns it, also to a repeat that does not know it.
        """
        keys = (*self._keys.of_job(job_id), self._keys.watchers(job_id))
        with readable(job_id):
            answer: bytes = await self._redis.call("delete", keys, _ERASED_MS, model)
            return answer.decode()

    async def _do(self, name: str, job_id: str, *args: Argument) -> Any:
        with readable(job_id):
            return await self._redis.call(name, self._keys.of_job(job_id), *args)


def encode(drafts: Sequence[NewEvent]) -> list[tuple[str, bytes]]:
    """Returns the events in the form that `append` and `finish` take."""
    return [(draft.type, draft.encode()) for draft in drafts]


def _claim(reply: list[Any], worker: bytes, token: str) -> Claim:
    status = ClaimStatus(reply[0].decode())
    if len(reply) == 1:
        return Claim(status)
    if status is ClaimStatus.ENDED:
        return Claim(status, thread_digest=reply[1].decode())
    waited, note = reply[3] / 1000, reply[4].decode(errors="replace")
    if status is not ClaimStatus.RUN:
        times = ClaimTimes(waited, _seconds(reply[5]), _seconds(reply[6]))
        digest = reply[7].decode()
        return Claim(status, reply[1], reply[2], note, times=times, worker=worker, token=token, thread_digest=digest)
    model, begun = reply[5].decode(), (reply[7].decode(), reply[8])
    times = ClaimTimes(waited, _seconds(reply[10]), left=_seconds(reply[9]))
    turn = reply[11].decode(), reply[12]
    return Claim(status, reply[1], reply[2], note, model, reply[6], begun, times, worker, token, *turn)


def _seconds(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000


def _text(flag: bytes | None) -> str | None:
    return None if flag is None else flag.decode(errors="replace")


def _result(job_id: str, reply: list[Any]) -> AppendResult:
    """Raises Fenced."""
    result = _result_or_fenced(job_id, reply)
    if isinstance(result, Fenced):
        raise result
    return result


def _result_or_fenced(job_id: str, reply: list[Any]) -> AppendResult | Fenced:
    status = _STATUSES.get(reply[0])
    if status is not None:
        return AppendResult(status, reply[1], _text(reply[2]))
    code = reply[0].decode()
    return Fenced(f"job {job_id}: this attempt may not write: {code}", code=code)
