"""Cancels and erases a job."""

from __future__ import annotations

import asyncio
from typing import Final

from readalong.api.auth.policy import job_not_found
from readalong.api.dependencies import Dependencies
from readalong.core.errors import BrokenJob
from readalong.core.states import Status
from readalong.store.job_record import Record

#: Seconds that an erase waits for a running job to end before it deletes the log that the worker appends to.
_END_TIMEOUT: Final = 2.0


async def cancel(deps: Dependencies, job_id: str) -> Record | None:
    """Cancels the job and returns its record; None if there is none. An ended job stays as it is."""
    found = await deps.log.cancelled(job_id, "client")
    if found is None:
        return None
    status, record = found
    if status is Status.CANCELLED:
        await deps.turns.withdraw(job_id, record)
    return record


async def erase(deps: Dependencies, job_id: str) -> None:
    """Cancels the job if it has not ended, and deletes everything that Redis holds of it.

    A repeat completes an erase that broke off. Raises JobNotFound, StoreUnavailable.
    """
    try:
        status = await deps.log.cancel(job_id, "client")
    except BrokenJob:  # it cannot be read, so no worker runs it
        status = Status.FAILED
    # The repeat of an erase that broke off finds no record, and must still release the watchers.
    if status is None and not await deps.index.contains(job_id):
        raise job_not_found(job_id)
    if status is Status.CANCELLED:
        await deps.index.refile(job_id)  # counts its end, of which nothing will be left
    elif status is Status.RUNNING:
        await _wait_for_end(deps, job_id)
    key_digest, model, thread = await deps.log.erasable(job_id)
    if key_digest:
        await deps.idempotency.release(key_digest, job_id)
    # First: a process with watchers would write the job's presence again behind the erase.
    await deps.index.leave_watched(job_id)
    # The repeat of an erase that broke off finds no hash: the tombstone in its place returns the model.
    model = await deps.log.delete(job_id, model)
    if thread:
        await deps.turns.forget(job_id, thread)
    await deps.hub.evict(job_id)
    await deps.queue.remove(job_id)
    await deps.index.remove(job_id, model=model)


async def _wait_for_end(deps: Dependencies, job_id: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _END_TIMEOUT
    while loop.time() < deadline:
        [state] = await deps.log.states([job_id])
        if state is None or state.status != Status.RUNNING:
            return
        await asyncio.sleep(0.05)
