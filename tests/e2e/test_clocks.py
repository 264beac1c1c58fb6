"""Wrong clocks on APIs and workers change nothing that matters: Redis' clock decides about leases, order and times."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import pytest

from tests.e2e.jobs import chat, paced, submit
from tests.support.history import assert_whole
from tests.support.processes import API_CODE, WORKER_CODE, Process
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow

_DAY: Final = 86_400
#: Runs before all other imports, because many modules import these functions by name.
_SHIFTED: Final = """
import os, time
_shift = int(os.environ["READALONG_TEST_SHIFT"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + _shift * 10**9
"""


def shift(process: Process, code: str, days: int) -> None:
    process.restart_cold_as(_SHIFTED + code, READALONG_TEST_SHIFT=str(days * _DAY), READALONG_MAX_JOBS="1")


@pytest.fixture
def wrong(stack: Stack) -> Stack:
    """A stack with one API and one worker a day ahead, the others a day behind; a worker has one slot."""
    for api, days in zip(stack.apis, (1, -1), strict=True):
        shift(api, API_CODE, days)
    for worker, days in zip(stack.workers, (-1, 1), strict=True):
        shift(worker, WORKER_CODE, days)
    stack.wait_ready()
    return stack


def at(shown: dict[str, str], name: str) -> float:
    """Returns a time of the job, in seconds since the epoch."""
    return datetime.fromisoformat(shown[name]).timestamp()


async def test_wrong_clocks_change_neither_deadlines_nor_order_nor_times_nor_leases(wrong: Stack) -> None:
    await assert_deadlines(wrong)
    await assert_order_and_leases(wrong)


async def assert_order_and_leases(wrong: Stack) -> None:
    """Jobs from both APIs run in submit order, and a dead worker's job continues when its lease ends."""
    early, late = wrong.workers
    late.stop()
    jobs = [await submit(wrong, paced(tokens=5, rate=0), url=wrong.urls[number % 2]) for number in range(6)]
    ended = [await job.ended() for job in jobs]
    starts = [at(shown, "started_at") for shown in ended]
    assert starts == sorted(starts), "not in the order in which they came"
    now = int(wrong.redis.command("TIME")[0])
    for job, shown in zip(jobs, ended, strict=True):
        assert_whole(wrong.log_of(job.id))
        assert (shown["status"], shown["attempt"]) == ("done", 1)
        assert now - 60 < at(shown, "created_at") <= at(shown, "started_at") <= at(shown, "ended_at") <= now + 1
        assert 0 <= shown["metrics"]["queue_seconds"] <= shown["metrics"]["total_seconds"] < 60
    # A day is longer than any lease: by the worker's clock, the job would be acquired at once or never.
    lost = await submit(wrong, paced(tokens=60, rate=60, first_token_seconds=0))
    await lost.says(0.1)
    late.cont()
    other = await submit(wrong, paced(tokens=5, rate=0))
    assert (await other.ended())["worker"]["pid"] == late.pid
    assert (await lost.show())["attempt"] == 1
    early.kill()
    shown = await lost.ended()
    assert (shown["status"], shown["attempt"], shown["worker"]["pid"]) == ("done", 2, late.pid)


async def assert_deadlines(wrong: Stack) -> None:
    """Deadlines count from the submit, for a queued and a running job; a clock a day off changes nothing."""
    for worker in wrong.workers:
        worker.stop()
    waits = await submit(wrong, {**paced(), "deadline": 0.5}, url=wrong.urls[0])
    runs = await submit(wrong, {**chat("demo-endless"), "deadline": 5}, url=wrong.urls[1])
    in_time = [await submit(wrong, {**paced(tokens=3, rate=0), "deadline": 60}, url=url) for url in wrong.urls]
    await until(lambda: _passed(wrong, waits.id), "the deadline")
    for worker in wrong.workers:
        worker.cont()
    for job, said in ((waits, False), (runs, True)):
        shown = await job.ended()
        log = wrong.log_of(job.id)
        assert_whole(log)
        assert (shown["status"], shown["error"]["code"]) == ("failed", "deadline_exceeded")
        assert bool(shown["content"]) is said
        assert len(wrong.generations(job.question)) == said
        await job.model_let_go()
    statuses = [(await job.ended())["status"] for job in in_time]
    assert statuses == ["done", "done"]
    await asyncio.gather(*(job.model_let_go() for job in in_time))


def _passed(stack: Stack, job_id: str) -> bool:
    return int(stack.redis.command("TIME")[0]) * 1000 > int(stack.hash_of(job_id)["deadline"])
