"""From a request body to a queued job, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from readalong.api.http.request_body import off_loop, unencodable
from readalong.api.submission.chat_request import ChatRequest, check
from readalong.api.submission.gone import submitting
from readalong.api.submission.queue_limits import QueueLimits
from readalong.api.submission.retries import Retries
from readalong.core.errors import (
    IdempotencyConflict,
    InvalidRequest,
    JobExpired,
    QueueFull,
)
from readalong.core.keys import new_job_id
from readalong.core.options import resolve
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.core.thread_entries import entries_of
from readalong.store.idempotency import IdempotencyRecord, IdempotencyStore, key_digest
from readalong.store.job_record import Record
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission
from readalong.store.threads import Turn
from readalong.store.turns import Turns

_MAX_KEY_LENGTH: Final = 255
#: Optional whitespace around a header's value (RFC 9110, section 5.5).
_WHITESPACE: Final = " \t"


class _CheckedBody(NamedTuple):
    """`stored`: the bytes that Redis keeps, None for the body as it came."""

    request: ChatRequest
    digest: str
    stored: bytes | None


class OriginalRequest(NamedTuple):
    """A request of another API, of which the chat request was made. `body`: as it came; two jobs are one only if these
    are equal. `kept`: the fields that the job's hash has of it."""

    body: dict[str, Any]
    kept: tuple[tuple[str, bytes], ...] = ()


class Submitter:
    """Checks bodies, writes jobs and queues them."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        idempotency: IdempotencyStore,
        queue: Queue,
        limits: QueueLimits,
        *,
        turns: Turns,
        retries: Retries,
    ) -> None:
        self._settings = settings
        self._log = log
        self._idempotency = idempotency
        self._queue = queue
        self._limits = limits
        self._turns = turns
        self._retries = retries

    async def submit(
        self,
        raw: bytes,
        body: dict[str, Any],
        key: str | None,
        pairs: Mapping[str, str],
        *,
        chat: bool,
        turn: Turn | None = None,
        original: OriginalRequest | None = None,
        retried: bool | None = None,
    ) -> Record:
        """Writes the job and queues it. The same key and body return the same job.

        `key`: the Idempotency-Key. `pairs`: the policy's, for the job's metadata. `chat`: the job is cancelled without
        a watcher, as those of /chat/stream. `retried`: of a client that repeats submits without a key, whether this is
        a repeat, which returns the job that it repeats; the caller then calls `Retries.answered`. None: of any other
        client. `turn`: the job's turn in a thread; None: as the body's `thread` says. `original`: what the body was
        made of.

        One script writes the job's own keys; when it has answered, another one adds the job to the index and the
        queue. A crash between them leaves a job that the next sweep or a repeated submit queues.

        Raises InvalidRequest, IdempotencyConflict, JobExpired, QueueFull, StoreUnavailable, and of a turn what
        `Turns.begin` raises.
        """
        key = key if key is None else key.strip(_WHITESPACE)
        checked = await off_loop(len(raw), _check_body, (body, self._settings.allowed_field_names))
        if original is not None:
            checked = checked._replace(digest=await off_loop(len(raw), _digest, original.body))
        if turn is None:
            turn = _turn_of(checked.request)
        else:
            # Equal words in two threads are two submits.
            named = f"{checked.digest} {turn.thread_id} {turn.parent} {turn.policy}"
            checked = checked._replace(digest=sha256(named.encode()).hexdigest())
        stored = raw if checked.stored is None else checked.stored
        kept = () if original is None else original.kept
        if key is not None:
            _check_key(key)
            key = _key_of_owner(key, pairs)
        size = len(stored) + sum(len(value) for _, value in kept)
        job_id, found = await self._find(key, checked.digest, pairs, size, retried=bool(retried))
        if found is not None:
            return await self._enqueue(found, turn) if found.status is Status.QUEUED else found
        offered = key is None and retried is not None
        if turn is None:
            thread, created_at = None, 0
        else:
            if offered:
                await self._retries.offer(checked.digest, job_id, pairs)  # a repeat is the same turn
            thread, begun = await self._turns.begin(job_id, turn, pairs)
            created_at = begun.created_at
        request = checked.request
        submission = Submission(
            job_id=job_id,
            model=request.model or self._settings.model,
            request=stored,
            metadata=orjson.dumps({**(body.get("metadata") or {}), **pairs}),
            body_digest=checked.digest,
            created_at=created_at,
            key_digest="" if key is None else key_digest(key),
            terms=resolve(
                self._settings,
                chat=chat,
                on_worker_lost=request.on_worker_lost,
                deadline=request.deadline,
                cancel_on_disconnect=request.cancel_on_disconnect,
            ),
            keep_request=self._settings.keep_request,
            thread=thread,
            kept=kept,
            leading=0 if turn is None else turn.leading,
            policy_keys=tuple(pairs),
        )
        with submitting():
            if offered:
                # Sent before the job: a process that dies between them must not leave a job that no repeat finds.
                offer = self._retries.offer(checked.digest, job_id, pairs)
                _, (_, record) = await asyncio.gather(offer, self._log.submit(submission))
            else:
                _, record = await self._log.submit(submission)
        if key is None:
            return await self._enqueue(record, turn)
        # Both only need the job to be written.
        written = self._idempotency.mark_written(key, IdempotencyRecord(job_id, checked.digest))
        after, _ = await asyncio.gather(self._enqueue(record, turn), written)
        return after

    async def find(self, key: str, pairs: Mapping[str, str]) -> str | None:
        """Returns the id of the job that was submitted with this key by the owner of these pairs; None if there is none
        or the key has expired. Raises StoreUnavailable."""
        return await self._idempotency.find(_key_of_owner(key, pairs))

    async def _find(
        self, key: str | None, digest: str, pairs: Mapping[str, str], size: int, *, retried: bool
    ) -> tuple[str, Record | None]:
        """Returns the job that this submit repeats, or the id of the job that it is to write. Raises QueueFull."""
        job_id = new_job_id()
        if key is not None:
            # Side by side: a job of this key is returned even if the queue is full.
            found, full = await asyncio.gather(self._find_job(key, job_id, digest), _queue_full(self._limits, size))
            if found[1] is None and full is not None:
                raise full
            return found
        if retried:
            job_id, repeated = await self._find_repeated(digest, pairs, job_id)
            if repeated is not None:
                return job_id, repeated
        await self._limits.check(size)
        return job_id, None

    async def _enqueue(self, record: Record, turn: Turn | None) -> Record:
        """Returns the job after it. Raises ThreadBusy."""
        if record.thread_open:
            return await self._turns.written(record, "enqueue" if turn is None else turn.policy)
        watched, grace = record.cancel_on_disconnect, record.disconnect_grace
        await self._queue.enqueue(record.id, record.created_at, model=record.model, watched=watched, grace=grace)
        return record

    async def _find_repeated(self, digest: str, pairs: Mapping[str, str], job_id: str) -> tuple[str, Record | None]:
        """Returns the id of the job that a repeat stands for, which may be the new `job_id`, and the job if it is
        written."""
        while (taken := await self._retries.take(digest, pairs)) is not None:
            record = await self._log.record(taken)
            if record is None and not await self._log.flags([taken]):
                return taken, None  # the first submit broke off before it wrote the job, or is about to
            if record is not None and record.status is not Status.CANCELLED:
                return taken, record
            # Cancelled, perhaps since its client was gone, or erased: it answers no repeat.
            await self._retries.end(digest, taken)
        return job_id, None

    async def _find_job(self, key: str, job_id: str, digest: str) -> tuple[str, Record | None]:
        """Returns the id that the key stands for, which may be the new `job_id`, and its job if that is written."""
        claimed = await self._idempotency.claim(key, job_id, digest)
        if claimed.body_digest != digest:
            raise IdempotencyConflict("This Idempotency-Key was used with another body.")
        if claimed.job_id == job_id:
            return job_id, None
        record = await self._log.record(claimed.job_id)
        expired = claimed.written and claimed.outlives
        if record is None and not expired and await self._log.flags([claimed.job_id]):
            # A copy of the first submit's claim arrived after the job was erased.
            await self._idempotency.release(key_digest(key), claimed.job_id)
            return await self._find_job(key, job_id, digest)
        if record is None and expired:
            # Writing the job again would generate its answer again.
            raise JobExpired(f"The job of this Idempotency-Key, {claimed.job_id}, has expired.")
        if record is not None and not claimed.written:
            await self._idempotency.mark_written(key, claimed)
        return claimed.job_id, record


def _check_body(given: tuple[dict[str, Any], Iterable[str]]) -> _CheckedBody:
    """`given`: the body, and the gateway fields that are allowed. Raises InvalidRequest."""
    body, allowed = given
    request, digest = check(body, allowed), _digest(body)
    if "metadata" not in body or body.get("store") is True:
        return _CheckedBody(request, digest, None)
    # The job's hash holds the metadata, and the model does not get them.
    return _CheckedBody(
        request, digest, orjson.dumps({name: value for name, value in body.items() if name != "metadata"})
    )


def _turn_of(request: ChatRequest) -> Turn | None:
    """Returns the turn of a body that names its thread: all its messages."""
    if request.thread is None:
        return None
    return Turn(entries_of(request.messages), request.thread, request.thread_policy or "reject")


def _digest(body: dict[str, Any]) -> str:
    try:
        return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except orjson.JSONEncodeError:
        raise unencodable(body) from None


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _MAX_KEY_LENGTH:
        raise InvalidRequest(f"Idempotency-Key must have 1 to {_MAX_KEY_LENGTH} characters.", field="Idempotency-Key")


def _key_of_owner(key: str, pairs: Mapping[str, str]) -> str:
    """Returns the key in the namespace of its pairs: the same key and body of two owners would share one job.

    A header cannot hold a line break, so no client can send another owner's key.
    """
    return f"{orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS).decode()}\n{key}" if pairs else key


async def _queue_full(limits: QueueLimits, size: int) -> QueueFull | None:
    """Returns the error instead of raising it."""
    try:
        await limits.check(size)
    except QueueFull as full:
        return full
    return None
