"""From a valid body to a queued job, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

from readalong.api.dependencies import Dependencies
from readalong.api.http.request_body import off_loop, unwritable
from readalong.api.submission.chat_request import ChatRequest, check
from readalong.api.submission.queue_limits import QueueLimits
from readalong.core.errors import IdempotencyConflict, InvalidRequest, JobExpired, QueueFull
from readalong.core.keys import new_job_id
from readalong.core.options import resolve
from readalong.core.states import Status
from readalong.store.idempotency import IdempotencyRecord, key_digest
from readalong.store.job_record import Record
from readalong.store.submission import Submission

_LONGEST_KEY: Final = 255
#: What may stand around a header's value and is no part of it (RFC 9110, section 5.5).
_BLANKS: Final = " \t"


async def submit(
    services: Dependencies, raw: bytes, body: dict[str, Any], key: str | None, pairs: Mapping[str, str], *, chat: bool
) -> Record:
    """Checks the body, writes the job and queues it. The same key and body answer the same job.

    `pairs`: the policy's, for the job's metadata. `chat`: it came by /chat/stream.
    First the job's own keys are written, then the queue's side lists and enqueues it, each in one script, and the
    second is sent when the first has answered. A crash between them leaves a job that the sweep finds, or that a repeat
    completes.
    Raises InvalidRequest, IdempotencyConflict, JobExpired, QueueFull, StoreUnavailable.
    """
    key = key if key is None else key.strip(_BLANKS)
    request, digest, rest = await off_loop(len(raw), _judge, (body, services.settings.allowed_field_names))
    stored = raw if rest is None else rest
    job_id = new_job_id()
    if key is None:
        await services.room.check(len(stored))
    else:
        # Asked side by side; what the key stands for is answered even if there is no room for another job.
        _check_key(key)
        key = _own(key, pairs)
        known, full = await asyncio.gather(_known(services, key, job_id, digest), _full(services.room, len(stored)))
        job_id, record = known
        if record is not None:
            if record.status is Status.QUEUED:
                await _enqueue(services, record)
            return record
        if full is not None:
            raise full
    new = Submission(
        job_id=job_id,
        model=request.model or services.settings.model,
        request=stored,
        metadata=orjson.dumps({**(body.get("metadata") or {}), **pairs}),
        body_digest=digest,
        key_digest="" if key is None else key_digest(key),
        terms=resolve(
            services.settings,
            chat=chat,
            on_worker_lost=request.on_worker_lost,
            deadline=request.deadline,
            cancel_on_disconnect=request.cancel_on_disconnect,
        ),
        keep_request=services.settings.keep_request,
    )
    _, record = await services.log.submit(new)
    # Both rely on nothing but its being written.
    await asyncio.gather(
        _enqueue(services, record),
        *([] if key is None else [services.idempotency.mark_written(key, IdempotencyRecord(job_id, digest))]),
    )
    return record


async def _enqueue(services: Dependencies, record: Record) -> None:
    watched, grace = record.cancel_on_disconnect, record.disconnect_grace
    await services.queue.enqueue(record.id, record.created_at, model=record.model, watched=watched, grace=grace)


def _judge(given: tuple[dict[str, Any], Iterable[str]]) -> tuple[ChatRequest, str, bytes | None]:
    """What was asked; the body's digest; and what of it is stored, if not all. `given`: the body, and the fields that a
    gateway may obey. Raises InvalidRequest."""
    body, allowed = given
    request, digest = check(body, allowed), _digest(body)
    if "metadata" not in body or body.get("store") is True:
        return request, digest, None
    # They stand in the job's hash, and the model does not get them.
    return request, digest, orjson.dumps({name: value for name, value in body.items() if name != "metadata"})


def _digest(body: dict[str, Any]) -> str:
    try:
        return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except orjson.JSONEncodeError:
        raise unwritable(body) from None


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise InvalidRequest(f"Idempotency-Key must have 1 to {_LONGEST_KEY} characters.", field="Idempotency-Key")


def _own(key: str, pairs: Mapping[str, str]) -> str:
    """The key among those of the same pairs: two owners' same key and body would be one job. A client cannot send a key
    with a line break, so none is another owner's."""
    return f"{orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS).decode()}\n{key}" if pairs else key


async def _known(services: Dependencies, key: str, job_id: str, digest: str) -> tuple[str, Record | None]:
    """The id that the key stands for, and its job if it is written already."""
    found = await services.idempotency.claim(key, job_id, digest)
    if found.body_digest != digest:
        raise IdempotencyConflict("This Idempotency-Key was used with another body.")
    if found.job_id == job_id:
        return job_id, None
    record = await services.log.record(found.job_id)
    if record is None and not found.written and await services.log.flags([found.job_id]):
        # A copy of the submit's first command came late, after the job was erased.
        await services.idempotency.release(key_digest(key), found.job_id)
        return await _known(services, key, job_id, digest)
    if record is None and found.written:
        # To write it again would be to generate it again.
        raise JobExpired(f"The job of this Idempotency-Key, {found.job_id}, has expired.")
    if record is not None and not found.written:
        await services.idempotency.mark_written(key, found)
    return found.job_id, record


async def _full(room: QueueLimits, size: int) -> QueueFull | None:
    try:
        await room.check(size)
    except QueueFull as full:
        return full
    return None
