"""The turns of threads: from before their jobs are written until they are recorded, whatever dies in between.

A turn is in four places: its thread, its job, the queue, and the list of open jobs. Each step writes one of them, in
this order, and what a crash leaves between two steps is mended by the thread's next turn or by the sweep:

1. The turn begins in its thread (`ThreadStore.begin`). Left so, its job is missing: the turn ends after `GRACE_MS`.
2. Jobs that it interrupts or rolls back are cancelled. Left so, the thread says of a turn that it is to end.
3. The job is written, with `thread_open`. It is queued once its turn runs. Left so, it is not in the queue.
4. The job ends. `thread_open` keeps it in the list of open jobs until its turn has ended in the thread, and the next
   turn's job is in the queue.

Whether a job may run is asked twice: when it is queued and, of the thread, when a worker has claimed it. A turn that
Redis has lost, while it kept the job, begins again (`_begin_again`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from readalong.core.errors import BrokenJob, InvalidRequest, JobNotFound, StoreUnavailable, ThreadBusy, ThreadFull
from readalong.core.states import Status
from readalong.core.thread_entries import Entry, answer_entries, compose, entries_of
from readalong.store.broken_keys import readable
from readalong.store.job_index import JobIndex
from readalong.store.job_record import Record
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.threads import WHOLE, Begun, Place, ThreadPolicy, ThreadRef, ThreadStore, Turn

logger = logging.getLogger(__name__)

#: Who cancels, of a job that a later turn ends, or whose thread is gone.
BY: Final = "thread"
#: Milliseconds that a submit has between its turn's beginning and its job.
GRACE_MS: Final = 5_000
#: Times that a turn tries to begin, each after a mend.
_TRIES: Final = 5
#: Bytes of a request, and entries of a thread, beyond which composing them would hold up the other streams of a worker.
_LARGE: Final = 262_144
_MANY: Final = 1000


class Turns:
    """Begins, releases and ends turns. Each call may be repeated, and raises StoreUnavailable and BrokenJob."""

    def __init__(self, log: Log, queue: Queue, index: JobIndex, threads: ThreadStore) -> None:
        self._log = log
        self._queue = queue
        self._index = index
        self._threads = threads

    async def begin(self, job_id: str, turn: Turn, pairs: Mapping[str, str]) -> tuple[ThreadRef, Begun]:
        """Begins the turn of a job that is about to be written, and cancels the jobs that it interrupts.

        `pairs`: the policy's, whose threads are apart from others'. Raises ThreadBusy, ThreadFull, InvalidRequest, and
        JobNotFound for a parent that is none.
        """
        if turn.thread_id and turn.parent:
            raise InvalidRequest("A turn names its thread or the job that it follows, not both.", field="thread")
        own = ThreadRef.of(_own_name(job_id), pairs)
        if turn.parent:
            ref = await self._thread_of(turn.parent, pairs)
        else:
            ref = ThreadRef.of(turn.thread_id, pairs) if turn.thread_id else own
        for _ in range(_TRIES):
            try:
                begun = await self._threads.begin(ref, job_id, turn, unnamed=ref == own)
            except ThreadBusy as busy:
                if not await self._mend(ref, busy.job_id):
                    raise
                continue
            if begun.place != "fork":
                await self._cancel(begun.cancel)
                return ref, begun
            if (running := await self._threads.running(ref)) is not None:
                await self._mend(ref, running)
            entries = await self._threads.entries_up_to(ref, turn.parent)
            if entries is None:
                raise ThreadBusy(f"Job {turn.parent} has not ended, and another turn follows it.", job_id=turn.parent)
            await self._threads.create(own, {}, entries)
            ref, turn = own, replace(turn, parent="")
        raise StoreUnavailable("The thread's turns change too fast; try again.", retry_after=1)

    async def written(self, record: Record, policy: ThreadPolicy = "enqueue") -> Record:
        """Queues a job that is written, or lists it while it waits for its thread. Returns the job after it.

        `policy`: for a turn that the thread has lost since it began. Raises ThreadBusy, and the job is cancelled, as
        `begin` would have now.
        """
        ref = ThreadRef(record.thread, record.thread_digest)
        place = await self._threads.place(ref, record.id)
        busy: ThreadBusy | None = None
        if place.place is None and not record.ended:
            try:
                place = await self._begin_again(record.id, policy)
            except ThreadBusy as error:
                busy = error
        if place.place == "wait" and not place.drop:
            await self._enqueue(record, waits=True)
            # The worker of the turn before may have died after its job's end.
            await self._mend(ref, place.running)
        elif place.place == "run" and not place.drop:
            await self._enqueue(record)
        else:
            await self._enqueue(record, waits=True)
            await self._cancel([record.id])
            if busy is not None:
                raise busy
            return await self._log.record(record.id) or record
        return record

    async def compose(
        self, job_id: str, digest: str, request: bytes, leading: int, *, items: bool = False
    ) -> bytes | None:
        """Returns the request of a claimed job with its thread's messages; None if it is not the job's turn: it is to
        end.

        `items`: with the items that no message can say.
        """
        ref = ThreadRef("", digest)
        place = await self._threads.place(ref, job_id)
        if place.place == "wait":
            # Redis has lost the end of the turn before.
            await self._mend(ref, place.running)
            place = await self._threads.place(ref, job_id)
        lost = place.place is None
        if lost:
            place = await self._begin_again(job_id)
        # A job that is claimed cannot wait for turns that began after its own was lost.
        if place.place != "run" and not (lost and place.place == "wait"):
            logger.warning("job %s: not the turn of its thread (%s); it ends", job_id, place.place)
            return None
        if leading == WHOLE:
            return request
        history = await self._threads.entries(ref)
        if len(request) > _LARGE or len(history) > _MANY:
            return await asyncio.to_thread(_with_history, request, history, leading, items)
        return _with_history(request, history, leading, items)

    async def settle(self, job_id: str) -> None:
        """Ends the turn of a job that has ended, and queues the job of the next. Else does nothing."""
        await self._settle_from(await self._log.record(job_id))

    async def withdraw(self, job_id: str, record: Record | None = None) -> None:
        """Follows a cancel that has ended a job in the queue: ends its turn, and takes it out of the queue and the open
        jobs. `record`: the job after the cancel, if the caller has it."""
        await self._settle_from(record or await self._log.record(job_id))
        await asyncio.gather(self._queue.remove(job_id), self._index.refile(job_id))

    async def forget(self, job_id: str, digest: str) -> None:
        """Ends the turn of a job that is erased, unless it is recorded, and queues the job of the next."""
        await self._release(await self._threads.end(ThreadRef("", digest), job_id, keep=False, gone=True))

    async def check(self, job_id: str, *, in_queue: bool) -> bool:
        """Mends an unrecorded turn, for the sweep. Returns whether its job may be in the queue."""
        record = await self._log.record(job_id)
        if record is None or not record.thread_open:
            return record is not None
        if record.ended:
            await self._settle_from(record)
            return False
        ref = ThreadRef(record.thread, record.thread_digest)
        place = await self._threads.place(ref, job_id)
        if place.place is None:
            place = await self._begin_again(job_id)
        if place.drop or place.place not in ("run", "wait"):
            await self._cancel([job_id])
            return False
        if place.place == "run":
            return True
        if not in_queue and await self._mend(ref, place.running):
            logger.warning("thread %s: ended the turn of job %s, which a crash had left", ref.digest, place.running)
        return False

    async def waits(self, record: Record) -> bool:
        """Returns whether a queued job waits for its thread."""
        if record.status is not Status.QUEUED or not record.thread_open:
            return False
        place = await self._threads.place(ThreadRef(record.thread, record.thread_digest), record.id)
        return place.place == "wait"

    async def _begin_again(self, job_id: str, policy: ThreadPolicy = "enqueue") -> Place:
        """Begins a turn that its thread does not know, while its job is there: Redis has lost the one and kept the
        other, or the submit was slow and its turn given up. Returns where the turn stands now.

        Its entries are made of the job's request. Raises ThreadBusy.
        """
        record, [request, leading] = await self._log.record_with(job_id, "request", "thread_leading")
        if record is None or request is None:
            return Place(None, "", "")
        ref = ThreadRef(record.thread, record.thread_digest)
        with readable(job_id):
            first = int(leading or 0)
            messages = orjson.loads(request)["messages"]
            if first == WHOLE:
                messages = [each for each in messages if each.get("role") not in ("system", "developer")]
            turn = Turn(entries_of(messages[max(first, 0) :]), policy=policy, leading=first)
        try:
            begun = await self._threads.begin(ref, job_id, turn, unnamed=record.thread == _own_name(job_id))
        except ThreadFull as error:
            logger.warning("job %s: its turn was lost, and cannot begin again: %s", job_id, error)
            return Place(None, "", "")
        logger.warning("job %s: its thread did not know its turn, which begins again", job_id)
        await self._cancel(begun.cancel)
        return await self._threads.place(ref, job_id)

    async def _thread_of(self, parent: str, pairs: Mapping[str, str]) -> ThreadRef:
        record = await self._log.record(parent)
        if record is not None and record.thread:
            ref = ThreadRef.of(record.thread, pairs)
            if ref.digest == record.thread_digest:
                return ref
        raise JobNotFound(f"Job {parent} does not exist, or is not kept for further turns.")

    async def _mend(self, ref: ThreadRef, job_id: str) -> bool:
        """Ends the turn of this job if the job has ended, or was not written in time. Returns whether it did."""
        record = await self._log.record(job_id)
        if record is None:
            running = await self._threads.end(ref, job_id, keep=False, gone=True, age_ms=GRACE_MS)
            await self._release(running)
            return running != job_id
        if not record.ended:
            return False
        await self._settle_from(record)
        return await self._threads.running(ref) != job_id

    async def _settle_from(self, record: Record | None) -> None:
        """Ends the turn of this job, if it has ended, and of those that follow it and have ended."""
        while record is not None and record.ended and record.thread_open:
            record = await self._settle(record)

    async def _settle(self, record: Record) -> Record | None:
        """Returns the job of the next turn if that has ended too."""
        ref = ThreadRef(record.thread, record.thread_digest)
        keep = record.status is not Status.FAILED
        answer = await self._answer(record) if keep else []
        running = await self._threads.end(ref, record.id, answer, keep=keep)
        after = await self._release(running)
        await self._log.close_turn(record.id)
        return after

    async def _release(self, running: str | None) -> Record | None:
        """Queues the job of the turn that runs, if it is written: else its submit is under way, and asks the thread
        when it has written the job. Returns a job that has ended."""
        record = None if running is None else await self._log.record(running)
        if record is None or record.ended:
            return record
        if record.status is Status.QUEUED:
            await self._enqueue(record)
        return None

    async def _enqueue(self, record: Record, *, waits: bool = False) -> None:
        watched, grace = record.cancel_on_disconnect, record.disconnect_grace
        await self._queue.enqueue(
            record.id, record.created_at, model=record.model, watched=watched, grace=grace, waits=waits
        )

    async def _cancel(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            if await self._log.cancel(job_id, BY) is Status.CANCELLED:
                await self.withdraw(job_id)

    async def _answer(self, record: Record) -> Sequence[Entry]:
        try:
            return answer_entries(record.id, await self._log.transcript(record, refusal=True), record.attempt)
        except BrokenJob as error:
            logger.error("%s; its thread gets no answer", error)
            return []


def _own_name(job_id: str) -> str:
    """Returns the name of a thread that no client named."""
    return f"conv_{job_id}"


def _with_history(request: bytes, history: Sequence[Entry], leading: int, items: bool) -> bytes:
    body = orjson.loads(request)
    messages = body["messages"]
    body["messages"] = [*messages[:leading], *compose(history, items=items), *messages[leading:]]
    return orjson.dumps(body)
