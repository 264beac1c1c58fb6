"""How far an answer had come when: few points, the whole job, whatever its length; and where they are kept."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest

from readalong.core.settings import Settings
from readalong.worker.progress import Progress
from tests.readalong.helpers import command
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, working


@pytest.mark.parametrize("seconds", [0.5, 10, 60, 3600, 80_000])
def test_the_points_are_few_and_span_the_whole_answer(seconds: float) -> None:
    progress, pieces = Progress(2.0, 100.0), 5000
    for number in range(pieces):
        progress.add(1, 100.0 + seconds * number / pieces)
    points = orjson.loads(progress.encode(100.0 + seconds))
    assert min(50, seconds * 9) <= len(points) <= 120
    assert points == sorted(points)
    assert points[-1][1] == pieces
    assert points[0][0] - 2.0 <= max(0.2, seconds / 25)
    # No stretch of the answer is left out.
    steps = [later[0] - earlier[0] for earlier, later in pairwise(points)]
    assert max(steps, default=0) <= max(0.3, seconds / 25)


def test_without_a_piece_there_is_no_progress() -> None:
    assert Progress(0.0, 0.0).encode(5.0) == b""


async def test_a_jobs_hash_has_its_progress_while_it_runs_and_after_its_end(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def points(job_id: str) -> list[Any]:
        value = await command(backend.redis, "HGET", backend.keys.job(job_id), "progress")
        found: list[Any] = orjson.loads(value or b"[]")
        return found

    monkeypatch.setattr("readalong.worker.log_writer._TIMED_EVERY", 0.1)
    async with demo_at(monkeypatch), working(settings):
        job_id = await backend.submit(rate=60, demo={"tokens": 90})
        early = await until(lambda: points(job_id), "its first points")
        await backend.ended(job_id)
        last = await points(job_id)
        record = await backend.record(job_id)
    assert len(last) > len(early)
    assert last[-1][1] >= 90
    assert record.metrics is not None
    assert last[0][0] >= record.metrics["queue_seconds"]
    assert last[-1][0] <= record.metrics["total_seconds"] + 1
