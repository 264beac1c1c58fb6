"""Reads records and logs of jobs. Reading needs no claim."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from readalong.core.errors import BrokenJob, UnknownSchema
from readalong.core.events import PAGE_SIZE, Event
from readalong.core.keys import model_digest
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL
from readalong.core.transcript import Transcript
from readalong.redis.facade import RedisFacade
from readalong.store.broken_keys import readable
from readalong.store.entries import Entry, ends, event_of, full_text, is_text_ref, parse_entries
from readalong.store.job_record import LISTED, JobState, Record, parse, parse_schema, parse_state

logger = logging.getLogger(__name__)

#: Positions that one command of `read_all` reads.
_PAGE: Final = 1000


class LogReader:
    """The reading half of the log. Only a claim, and a client that asks for it, reads a request: it may be megabytes.

    Each call raises StoreUnavailable; those about one job also BrokenJob, those about many leave out what is broken.
    """

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys

    async def record(self, job_id: str) -> Record | None:
        """Returns the job; None if it is gone. Raises UnknownSchema."""
        with readable(job_id):
            return record_of(job_id, await self._redis.command("HMGET", self._keys.job(job_id), *LISTED))

    async def record_with(self, job_id: str, *fields: str) -> tuple[Record | None, list[bytes | None]]:
        """Returns the job, and further fields of its hash, in one command. Raises UnknownSchema."""
        with readable(job_id):
            values = await self._redis.command("HMGET", self._keys.job(job_id), *LISTED, *fields)
            return record_of(job_id, values[: len(LISTED)]), values[len(LISTED) :]

    async def request(self, job_id: str) -> bytes | None:
        """Returns the job's request, JSON; None where it is not kept."""
        with readable(job_id):
            found: bytes | None = await self._redis.command("HGET", self._keys.job(job_id), "request")
            return found

    async def records(self, job_ids: Sequence[str]) -> list[Record | None]:
        """Returns many records in one round trip; None for a job that is gone or broken, or that another version
        wrote."""
        commands = [("HMGET", self._keys.job(job_id), *LISTED) for job_id in job_ids]
        found = await self._redis.pipeline(commands, keep_broken=True)
        return [self._listed(job_id, values) for job_id, values in zip(job_ids, found, strict=True)]

    def _listed(self, job_id: str, values: list[bytes | None] | Exception) -> Record | None:
        try:
            with readable(job_id):
                if isinstance(values, Exception):
                    raise values
                return record_of(job_id, values)
        except UnknownSchema:
            return None
        except BrokenJob as error:
            logger.error("%s; it is left out", error)
            return None

    async def states(self, job_ids: Sequence[str]) -> list[JobState | None]:
        """Returns the states of many jobs, in one command; None for each that is gone."""
        answers = await self._redis.call("states", [self._keys.job(job_id) for job_id in job_ids])
        return [parse_state(answer) for answer in answers]

    async def erasable(self, job_id: str) -> tuple[str, str, str]:
        """Returns what an erase needs of a job: the `key_digest` of its Idempotency-Key, its `model_digest`, and the
        digest of its thread; "" for what is unknown."""
        try:
            with readable(job_id):
                schema, digest, model, thread = await self._redis.command(
                    "HMGET", self._keys.job(job_id), "schema", "key_digest", "model", "thread_digest"
                )
                if schema is not None:
                    parse_schema(schema)
                named = "" if model is None else model_digest(model.decode())
                return (digest or b"").decode(), named, (thread or b"").decode()
        except BrokenJob:
            return "", "", ""

    async def filter_cancel_on_disconnect(self, job_ids: Sequence[str]) -> list[str]:
        """Returns the ids of jobs that have not ended and are to end without a watcher."""
        fields = ("status", "cancel_on_disconnect")
        answers = await self._redis.pipeline([("HMGET", self._keys.job(job_id), *fields) for job_id in job_ids])
        return [
            job_id
            for job_id, (status, wanted) in zip(job_ids, answers, strict=True)
            if wanted == b"1" and status is not None and status.decode() not in TERMINAL
        ]

    async def flags(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Returns the cancel flags that are set, of many jobs in one command."""
        if not job_ids:
            return {}
        values = await self._redis.command("MGET", *(self._keys.cancel(job_id) for job_id in job_ids))
        return {
            job_id: value.decode(errors="replace")
            for job_id, value in zip(job_ids, values, strict=True)
            if value is not None
        }

    async def missing(self, job_ids: Sequence[str]) -> list[str]:
        """Returns the ids whose record is gone. If there is none, that takes one command."""
        names = [self._keys.job(job_id) for job_id in job_ids]
        if not names or await self._redis.command("EXISTS", *names) == len(names):
            return []
        answers = await self._redis.pipeline([("EXISTS", name) for name in names])
        return [job_id for job_id, there in zip(job_ids, answers, strict=True) if not there]

    async def read(self, job_id: str, after: int, count: int) -> list[Event]:
        """Returns up to `count` events after position `after`, in order, each as it was appended."""
        events: list[Event] = []
        for event in await self.read_merged(job_id, after, count):
            events += event.expand()
        return events[:count]

    async def read_merged(self, job_id: str, after: int, count: int) -> list[Event]:
        """Returns the events after position `after`, as they are stored: up to `count` of them, that cover `count`
        numbers or a few more if they are merged, or all to the newest."""
        # A merged one that begins before the last number asked for ends at the next multiple.
        last = -(-(after + count) // PAGE_SIZE) * PAGE_SIZE
        with readable(job_id):
            entries = await self._redis.command(
                "XRANGE", self._keys.events(job_id), f"{after + 1}-0", f"{last}-0", "COUNT", count
            )
            events = await self._events(job_id, parse_entries(entries))
            if events:
                events[0] = events[0].since(after)
            return events

    async def read_all(
        self,
        job_id: str,
        add: Callable[[list[Event]], None],
        *,
        until: int | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Calls `add` with the events of the whole log, as they are stored, page by page. Returns the last position.

        `until`: the position that is enough; None: reads until nothing follows. `check` is awaited after each page that
        is not enough, and what it raises ends the reading.
        """
        last = 0
        while events := await self.read_merged(job_id, last, _PAGE):
            add(events)
            last = events[-1].seq
            if until is not None and last >= until:
                break
            if check is not None:
                await check()
        return last

    async def transcript(
        self, record: Record, *, refusal: bool = False, check: Callable[[], Awaitable[None]] | None = None
    ) -> Transcript:
        """Returns what a job has said so far. `refusal`: see `Transcript.of_end`; `check`: see `read_all`.

        Of an ended job the end alone is read where it says all: reading a million events takes seconds.
        """
        transcript = Transcript()
        if record.attempt:
            with readable(record.id):
                newest = await self.newest(record.id, 1) if record.ended else ()
                for event in newest:
                    if (whole := Transcript.of_end(event, refusal=refusal)) is not None:
                        return whole
                await self.read_all(record.id, transcript.add_all, until=record.last_seq, check=check)
        return transcript

    async def newest(self, job_id: str, count: int) -> list[Event]:
        """Returns the newest `count` events, in order, each as it was appended."""
        with readable(job_id):
            entries = await self._redis.command("XREVRANGE", self._keys.events(job_id), "+", "-", "COUNT", count)
            events: list[Event] = []
            for event in await self._events(job_id, parse_entries(entries[::-1])):
                events += event.expand()
            return events[-count:]

    async def _events(self, job_id: str, entries: list[Entry]) -> list[Event]:
        whole = ""
        if any(is_text_ref(entry) for entry in entries):
            end = entries[-1]
            if not ends(end):
                newest = await self._redis.command("XREVRANGE", self._keys.events(job_id), "+", "-", "COUNT", 1)
                end = parse_entries(newest)[0] if newest else end  # erased meanwhile
            whole = full_text(end)
        return [event_of(entry, whole) for entry in entries]


def record_of(job_id: str, values: Sequence[bytes | None]) -> Record | None:
    """Returns the record of a job, of these values of LISTED. Raises UnknownSchema, ValueError, KeyError."""
    record = parse({name: value for name, value in zip(LISTED, values, strict=True) if value is not None})
    if record is not None and record.id != job_id:
        # All that asks with the record would reach another job, or none.
        raise ValueError(f"its id is {record.id!r:.80}")
    return record
