"""An attempt's measurements outlive its worker: the worker that ends the job for it puts them into the metrics."""

from __future__ import annotations

from typing import Any

import pytest

from tests.readalong.helpers import command
from tests.worker.helpers import Backend, demo_at, working


async def lost(backend: Backend, *kinds: str) -> str:
    """Creates a job that was submitted ten seconds ago and claimed after two, with this text, whose worker is dead."""
    job_id = await backend.write(rate=0, age=10)
    claim = await backend.log.claim(job_id, b'{"id":"dead"}', "token")
    key = backend.keys.job(job_id)
    await command(backend.redis, "HSET", key, "started_at", (await backend.record(job_id)).created_at + 2000)
    for place, kind in enumerate(kinds, claim.last_seq + 1):
        await backend.log.append(job_id, claim.fence, place, [(kind, b'{"content":"said"}')])
        if await command(backend.redis, "HEXISTS", key, "first_token_at"):
            await command(
                backend.redis, "HSET", key, "first_token_at", (await backend.record(job_id)).created_at + 3500
            )
    return job_id


async def metrics_of(backend: Backend, job_id: str, end: str) -> dict[str, Any]:
    await backend.queue.enqueue(job_id, 0)
    events = await backend.ended(job_id)
    assert events[-1].type == end
    metrics: dict[str, Any] = events[-1].fields()["metrics"]
    assert metrics["total_seconds"] >= 10
    return metrics


@pytest.mark.parametrize("end", ["cancelled", "failed"])
@pytest.mark.parametrize(
    ("said", "kept"),
    [(["waiting", "content", "reasoning"], (2.0, 3.5, 2)), (["waiting"], (2.0, None, 0)), ([], (2.0, None, 0))],
    ids=["spoke", "waited", "silent"],
)
async def test_a_job_that_another_worker_ends_keeps_what_its_attempt_has_measured(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, end: str, said: list[str], kept: tuple[float, float | None, int]
) -> None:
    """The time in the queue is the first claim's. The first token and the count are from the log."""
    job_id = await lost(backend, *said)
    if end == "cancelled":
        await backend.redis.set(backend.keys.cancel(job_id), "me")
    else:
        await command(backend.redis, "HSET", backend.keys.job(job_id), "on_worker_lost", "fail")
    async with demo_at(monkeypatch), working(backend.settings):
        metrics = await metrics_of(backend, job_id, end)
    assert (metrics["queue_seconds"], metrics["time_to_first_token"], metrics["chunk_count"]) == kept


async def test_a_job_that_goes_on_keeps_its_time_in_the_queue_and_counts_its_new_words(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await lost(backend, "content")
    async with demo_at(monkeypatch), working(backend.settings):
        metrics = await metrics_of(backend, job_id, "done")
    assert metrics["queue_seconds"] == 2.0
    assert metrics["time_to_first_token"] >= 10
