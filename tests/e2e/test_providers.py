"""A user's own provider in real workers: its jobs are watched, cancelled and outlive their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.generators import WORDS
from tests.e2e.jobs import Job, chat, submit
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack
from tests.support.waiting import until

TEXT = "".join(WORDS)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def own(marks: Path) -> Iterator[Stack]:
    """Two workers with providers, without a drain time."""
    settings = {
        "READALONG_PROVIDERS": "counts=tests.e2e.generators:counts,deaf=tests.e2e.generators:deaf",
        "READALONG_TEST_MARKS": str(marks),
        "READALONG_DRAIN_TIMEOUT": "0",
    }
    with Stack(apis=2, workers=2, settings=settings) as stack:
        yield stack


async def says(job: Job, words: int) -> None:
    """Returns when the log has this many words."""
    await until(lambda: text(job.stack.log_of(job.id)).count(" ") >= words, f"{words} words")


async def test_a_job_is_watched_cancelled_and_restarted_by_another_worker(own: Stack, marks: Path) -> None:
    """A cancel closes the generator. A kill -9 of the worker loses nothing: another worker starts over."""
    whole, unwanted, lost = [await submit(own, chat("counts", user=user)) for user in ("whole", "unwanted", "lost")]
    watchers = [asyncio.create_task(lost.watcher(url).run()) for url in own.urls]
    await says(unwanted, 3)
    await unwanted.cancel()
    shown = await unwanted.ended()
    assert (shown["status"], shown["content"]) == ("cancelled", text(own.log_of(unwanted.id)))
    await until((marks / "closed-unwanted").exists, "the generator to be closed")
    await says(lost, 3)
    victim = await lost.worker()
    victim.kill()
    shown = await lost.ended()
    log = own.log_of(lost.id)
    assert (shown["status"], shown["attempt"], text(log)) == ("done", 2, TEXT)
    assert kinds(log).count("restarted") == 1
    assert_whole(log, *[(await watcher).history for watcher in watchers])
    assert text(own.log_of((await whole.ended())["id"])) == TEXT


async def test_a_worker_stops_although_a_generator_never_ends(own: Stack, marks: Path) -> None:
    job = await submit(own, chat("deaf", user="deaf"))
    worker = await job.worker()
    await until(lambda: text(own.log_of(job.id)), "the first word")
    worker.term()
    await until(lambda: not worker.running, "the worker's end")
    assert worker.code == 0
    assert "a provider does not end; exiting without it" in worker.output
    assert (marks / "ignored-deaf").exists()
