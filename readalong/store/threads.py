"""Threads: what was said in them, and whose turn it is.

A turn is a job. It begins before its job is written, and ends once, when the job has ended: then its entries and the
answer's are the thread's newest. Turns run one after the other. Each change is one script on the keys of one thread,
and may be repeated after a lost reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

import orjson

from readalong.core.errors import InvalidRequest, ThreadBusy, ThreadFull, ThreadNotFound
from readalong.core.settings import Settings
from readalong.core.thread_entries import Entry
from readalong.redis.facade import RedisFacade
from readalong.store.broken_keys import readable_thread

ThreadPolicy = Literal["reject", "enqueue", "interrupt", "rollback"]

MAX_NAME_LENGTH: Final = 255
#: Of a turn whose messages are all that the model gets (`Turn.leading`).
WHOLE: Final = -1
#: Entries that one command reads or writes.
_PAGE: Final = 500
_LIMITS: Final = {
    "entries": "The thread has as many entries as it may have ({:,}).",
    "bytes": "The thread's entries would have more than {:,} bytes.",
    "turns": "As many turns of the thread wait as may wait ({:,}).",
}


class ThreadRef(NamedTuple):
    """A thread: its name, and the digest of name and owner that its keys have. Two owners' threads of one name are two
    threads."""

    id: str
    digest: str

    @classmethod
    def of(cls, thread_id: str, pairs: Mapping[str, str]) -> ThreadRef:
        """`pairs`: the policy's, for a submit. Raises InvalidRequest."""
        if not 1 <= len(thread_id) <= MAX_NAME_LENGTH:
            raise InvalidRequest(f"thread: must have 1 to {MAX_NAME_LENGTH} characters.", field="thread")
        owner = orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS)
        return cls(thread_id, sha256(owner + b"\n" + thread_id.encode()).hexdigest()[:40])


@dataclass(frozen=True, slots=True)
class Turn:
    """A job's turn in a thread, for a submit.

    The last of the request's `messages` are the turn; the first `leading` of them, such as instructions, are not: the
    thread's come between the two. `entries` are the turn's, as the thread keeps them. With `leading` WHOLE the model
    gets the request's messages alone, and the entries come in place of all that the thread has.

    `thread_id`: the thread's name; "": that of `parent`'s thread, or a new one of the job's own, `conv_<job id>`.
    `parent`: the job whose turn this one follows. If the thread has gone on since, this turn begins a new thread, with
    the entries up to the parent's.
    """

    entries: Sequence[Entry]
    thread_id: str = ""
    policy: ThreadPolicy = "reject"
    parent: str = ""
    leading: int = 0


@dataclass(frozen=True, slots=True)
class Thread:
    """`created_at`: milliseconds since the epoch. `running`: the job whose turn runs, or ""."""

    id: str
    created_at: int
    metadata: dict[str, Any]
    running: str


class Begun(NamedTuple):
    """What a turn's beginning has decided. `fork`: it has not begun, since the thread has gone on after its parent.

    `cancel`: jobs that are to be cancelled, since this turn interrupts them or rolls them back.
    """

    place: Literal["run", "wait", "over", "fork"]
    created_at: int = 0
    cancel: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a job's turn stands; None: the thread does not know it. `running`: the job whose turn runs, or "".
    `drop`: why the turn is to end, or ""."""

    place: Literal["run", "wait", "over"] | None
    running: str
    drop: str


class ThreadStore:
    """The threads on one Redis. Each call raises StoreUnavailable, and BrokenJob for keys that cannot be read."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        idle = int(settings.thread_ttl * 1000)
        #: Times to live (ms): without a turn, and with one that has not ended.
        self._ttls = (idle, max(idle, int(settings.job_ttl * 1000)))
        self._limits = {
            "entries": settings.max_thread_entries,
            "bytes": settings.max_thread_bytes,
            "turns": settings.max_thread_waiting,
        }
        self._retention_ms = int(settings.retention * 1000)
        self._forget_ms = int((settings.retention + settings.job_ttl) * 1000)

    async def get(self, ref: ThreadRef) -> Thread | None:
        with readable_thread(ref.digest):
            fields = ("id", "created_at", "metadata", "running")
            values = await self._redis.command("HMGET", self._keys.thread(ref.digest), *fields)
            name, created_at, metadata, running = values
            if name is None:
                return None
            said: dict[str, Any] = orjson.loads(metadata or b"{}")
            return Thread(name.decode(), int(created_at), said, (running or b"").decode())

    async def create(self, ref: ThreadRef, metadata: dict[str, Any], entries: Sequence[Entry] = ()) -> None:
        """Creates the thread unless it is there, and adds these entries. Raises ThreadFull, InvalidRequest."""
        await self._write(ref, ref.id, orjson.dumps(metadata), entries)

    async def set_metadata(self, ref: ThreadRef, metadata: dict[str, Any]) -> None:
        """Raises ThreadNotFound."""
        await self._write(ref, "", orjson.dumps(metadata), ())

    async def add(self, ref: ThreadRef, entries: Sequence[Entry]) -> None:
        """Adds entries behind all others, all or none of each five hundred.

        Raises ThreadNotFound, ThreadFull, InvalidRequest for an id that the thread has already.
        """
        await self._write(ref, "", b"", entries)

    async def remove(self, ref: ThreadRef, entry_id: str) -> bool:
        """Removes an entry. Returns whether there was one."""
        return bool(await self._call("thread_remove", ref, entry_id))

    async def entry(self, ref: ThreadRef, entry_id: str) -> Entry | None:
        """Returns an entry that is recorded: of a turn that has ended."""
        with readable_thread(ref.digest):
            _, order, entries, *_ = self._keys.of_thread(ref.digest)
            place, data = await self._redis.pipeline([("ZSCORE", order, entry_id), ("HGET", entries, entry_id)])
            return None if place is None or data is None else Entry.decode(entry_id, data)

    async def entries(
        self, ref: ThreadRef, after: str = "", limit: int | None = None, *, newest_first: bool = False
    ) -> list[Entry]:
        """Returns up to `limit` recorded entries that follow the entry `after`, in order, or in the opposite order.

        Raises ThreadNotFound if there is no entry `after`.
        """
        with readable_thread(ref.digest):
            order = self._keys.of_thread(ref.digest)[1]
            start = 0
            if after:
                rank = await self._redis.command("ZREVRANK" if newest_first else "ZRANK", order, after)
                if rank is None:
                    raise ThreadNotFound(f"Thread {ref.id} has no entry {after}.")
                start = int(rank) + 1
            found: list[Entry] = []
            while limit is None or len(found) < limit:
                count = _PAGE if limit is None else min(_PAGE, limit - len(found))
                command = "ZREVRANGE" if newest_first else "ZRANGE"
                ids = await self._redis.command(command, order, start, start + count - 1)
                found += await self._read(ref, ids)
                if len(ids) < count:
                    break
                start += count
            return found

    async def entries_up_to(self, ref: ThreadRef, job_id: str) -> list[Entry] | None:
        """Returns the entries that the thread had when this job's turn ended; None if that is not known."""
        with readable_thread(ref.digest):
            _, order, _, turns, *_ = self._keys.of_thread(ref.digest)
            at = await self._redis.command("HGET", turns, f"at:{job_id}")
            if at is None:
                return None
            ids = await self._redis.command("ZRANGEBYSCORE", order, "-inf", int(at))
            found: list[Entry] = []
            for start in range(0, len(ids), _PAGE):
                found += await self._read(ref, ids[start : start + _PAGE])
            return found

    async def running(self, ref: ThreadRef) -> str | None:
        """Returns the job whose turn runs."""
        with readable_thread(ref.digest):
            running = await self._redis.command("HGET", self._keys.thread(ref.digest), "running")
            return None if running is None else running.decode()

    async def jobs(self, ref: ThreadRef) -> list[str]:
        """Returns all its jobs, the oldest first. Their records may be gone."""
        with readable_thread(ref.digest):
            ids = await self._redis.command("ZRANGE", self._keys.thread_jobs(ref.digest), 0, -1)
            return [job_id.decode() for job_id in ids]

    async def erase(self, ref: ThreadRef) -> list[str]:
        """Erases the thread. Returns its jobs, which are not erased. A turn that runs finds itself without a thread."""
        ids = await self._call("thread_erase", ref)
        return [job_id.decode() for job_id in ids]

    async def begin(self, ref: ThreadRef, job_id: str, turn: Turn, *, unnamed: bool = False) -> Begun:
        """Begins a job's turn, before the job is written. A repeat returns where the turn stands.

        `unnamed`: no client gave the thread its name, so only its jobs lead to it, and it is kept as long as they are.
        One script decides: two turns at once are never both begun to run. Raises ThreadBusy, ThreadFull, InvalidRequest
        for an entry whose id the thread has already.
        """
        limits = (self._limits["entries"], self._limits["bytes"], self._limits["turns"])
        arguments = (job_id, turn.policy, turn.parent, ref.id, *self._ttls, *limits, self._forget_ms)
        kinds = (self._retention_ms if unnamed else "", "1" if turn.leading == WHOLE else "")
        verdict, what, *cancel = await self._call("thread_begin", ref, *arguments, *kinds, *_flat(turn.entries))
        match verdict:
            case b"run" | b"wait" | b"over":
                return Begun(verdict.decode(), int(float(what)), tuple(each.decode() for each in cancel))
            case b"fork":
                return Begun("fork")
            case b"busy":
                running = what.decode()
                raise ThreadBusy(f"Job {running} of this thread has not ended.", job_id=running)
            case _:
                raise self._refusal(verdict, what.decode())

    async def end(
        self,
        ref: ThreadRef,
        job_id: str,
        answer: Sequence[Entry] = (),
        *,
        keep: bool,
        gone: bool = False,
        age_ms: int = 0,
    ) -> str | None:
        """Ends a job's turn: records it with its answer, or forgets it. Returns the job whose turn runs now.

        `keep`: record it, unless a later turn rolls it back. `gone`: the job is not there; then its id may begin a turn
        again. `age_ms`: only if it began so long ago.

        Exactly once: a turn that has ended, or is not known, changes nothing.
        """
        how = "gone" if gone else int(keep)
        running = await self._call("thread_end", ref, job_id, how, age_ms, *self._ttls, *_flat(answer))
        return None if running is None else running.decode()

    async def place(self, ref: ThreadRef, job_id: str) -> Place:
        """Where a job's turn stands. The thread's time to live begins anew."""
        place, running, drop = await self._call("thread_place", ref, job_id, *self._ttls)
        return Place(None if place is None else place.decode(), (running or b"").decode(), drop.decode())

    async def _write(self, ref: ThreadRef, name: str, metadata: bytes, entries: Sequence[Entry]) -> None:
        limits = (*self._ttls, self._limits["entries"], self._limits["bytes"])
        for start in range(0, len(entries) or 1, _PAGE):
            some = entries[start : start + _PAGE]
            verdict, *what = await self._call("thread_write", ref, name, metadata, *limits, *_flat(some))
            if verdict == b"gone":
                raise ThreadNotFound(f"Thread {ref.id} does not exist.")
            if verdict != b"ok":
                raise self._refusal(verdict, what[0].decode())

    def _refusal(self, verdict: bytes, what: str) -> ThreadFull | InvalidRequest:
        if verdict == b"full":
            return ThreadFull(_LIMITS[what].format(self._limits[what]))
        return InvalidRequest(f"The thread has an entry {what} already.", code="duplicate_entry")

    async def _read(self, ref: ThreadRef, ids: Sequence[bytes]) -> list[Entry]:
        if not ids:
            return []
        values = await self._redis.command("HMGET", self._keys.of_thread(ref.digest)[2], *ids)
        pairs = zip(ids, values, strict=True)
        return [Entry.decode(entry_id.decode(), data) for entry_id, data in pairs if data is not None]

    async def _call(self, script: str, ref: ThreadRef, *arguments: str | bytes | int) -> Any:
        with readable_thread(ref.digest):
            return await self._redis.call(script, self._keys.of_thread(ref.digest), *arguments)


def _flat(entries: Sequence[Entry]) -> list[str | bytes]:
    return [part for entry in entries for part in (entry.id, entry.encode())]
