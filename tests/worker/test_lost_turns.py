"""Jobs that Redis has kept, and their turns that it has lost."""

from __future__ import annotations

import pytest

from readalong.core.settings import Settings
from readalong.core.thread_entries import entries_of
from readalong.worker.reconciler import Reconciler
from tests.readalong.helpers import command
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, text_of, working
from tests.worker.test_turns import REF, Submit, asks, history, play, queued, sweep, swept

__all__ = ["sweep"]


async def test_a_job_runs_on_and_is_recorded(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose turn is lost while it streams, and one that a worker claims without a turn."""
    one, two = Submit(backend, "a", demo={"tokens_per_second": 50, "tokens": 100_000}), Submit(backend, "b")
    await one.all()
    async with demo_at(monkeypatch), working(settings):
        await backend.has(one.id, "content", 3)
        await command(backend.redis, "DEL", *backend.keys.of_thread(REF.digest))
        assert await backend.turns.check(one.id, in_queue=True)
        record = await two.write()
        await backend.queue.enqueue(two.id, record.created_at)
        second = await backend.ended(two.id)
        await backend.log.cancel(one.id, "client")
        first = await backend.ended(one.id)

        async def both() -> bool:
            return await backend.threads.running(REF) is None

        await until(both, "both turns to be recorded")
    assert (first[-1].fields()["by"], second[-1].type) == ("client", "done")
    assert await history(backend) == ["a", text_of(first), "b", text_of(second)]


@pytest.mark.parametrize("thread", ["known", "lost"])
async def test_a_queued_job_is_queued_by_the_sweep(backend: Backend, sweep: Reconciler, thread: str) -> None:
    if thread == "known":
        await backend.threads.create(REF, {}, entries_of([asks("old")]))
    one = Submit(backend, "a")
    await one.write()
    await backend.index.refile(one.id)
    await swept(backend, sweep)
    assert await queued(backend) == [one.id]
    await play(backend, one.id)
    await backend.turns.settle(one.id)
    assert await history(backend) == [*(["old"] if thread == "known" else []), "a", "said"]
