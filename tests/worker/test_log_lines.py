"""A worker's log, as an operator reads it: one line for each end, and warnings for faults."""

from __future__ import annotations

import logging
import re

import pytest

from readalong.core.settings import Settings
from tests.readalong.helpers import command
from tests.support.waiting import until
from tests.worker.helpers import Backend, demo_at, working


def lines(caplog: pytest.LogCaptureFixture, word: str) -> list[tuple[int, str]]:
    """Returns level and text of each line of readalong that contains a word."""
    found = [
        record
        for record in caplog.records
        if record.name.startswith("readalong.worker.") and word in record.getMessage()
    ]
    return [(record.levelno, re.sub(r"\d+\.\d s$", "N s", record.getMessage())) for record in found]


async def test_each_end_is_one_line_with_its_attempt_tokens_and_time(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is a warning with its code, also if another worker ended the job. Foreign text breaks no line."""
    caplog.set_level(logging.INFO)
    async with demo_at(monkeypatch), working(settings):
        done = await backend.submit("demo-fast", demo={"tokens": 7})
        cut = await backend.submit("demo-cut", rate=0, demo={"after": 3})
        gone = await backend.submit("demo-hang")
        await backend.has(gone, "started")
        await backend.redis.set(backend.keys.cancel(gone), "me\nERROR forged")
        lost = await backend.write()
        await backend.log.claim(lost, b'{"id":"dead"}', "token")
        await command(backend.redis, "HSET", backend.keys.job(lost), "on_worker_lost", "fail")
        await backend.queue.enqueue(lost, 0)
        for job_id in (done, cut, gone, lost):
            await backend.ended(job_id)
    assert lines(caplog, f"{done} done") == [(logging.INFO, f"job {done} done: attempt 1, 7 tokens, N s")]
    assert lines(caplog, f"{cut} failed") == [
        (
            logging.WARNING,
            f"job {cut} failed (model_cut: 'The model closed the stream early.'): attempt 1, 3 tokens, N s",
        )
    ]
    assert lines(caplog, f"{gone} cancelled") == [
        (logging.INFO, f"job {gone} cancelled (by 'me\\nERROR forged'): attempt 1, 0 tokens, N s")
    ]
    assert [level for level, _ in lines(caplog, lost)] == [logging.WARNING, logging.WARNING]
    assert "worker_lost" in lines(caplog, f"{lost} failed")[0][1]


async def test_what_is_taken_over_and_what_is_fenced_out_is_a_warning(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await backend.submit("demo-endless", rate=300)
    await backend.log.claim(job_id, b'{"id":"dead"}', "token")
    async with demo_at(monkeypatch), working(settings) as one:
        await backend.has(job_id, "content")
        assert lines(caplog, "taken over") == [
            (logging.WARNING, f"job {job_id}: taken over from a lost worker, attempt 2")
        ]
        await backend.redis.set(backend.keys.arq_in_progress(job_id), "another", px=60_000)
        await backend.log.claim(job_id, b'{"id":"another"}', "newer")
        await until(lambda: not one.runs)
    fenced = lines(caplog, "fenced out") + lines(caplog, "has lost its lease")
    assert [level for level, _ in fenced] == [logging.WARNING]


async def test_a_worker_says_at_its_start_what_it_works_with(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The addresses of model and Redis, and no password."""
    caplog.set_level(logging.INFO)
    async with demo_at(monkeypatch) as demo:
        monkeypatch.setenv("OPENAI_BASE_URL", demo.url.replace("//", "//user:sk-secret@"))
        async with working(settings, "w7"):
            await until(lambda: "ready" in caplog.text, "the first line of its log")
    at = demo.url.removeprefix("http://").removesuffix("/v1")
    assert f"worker w7 ready: 100 slots, model demo at {at}, redis {settings.redis_url}, readalong " in caplog.text
    assert "sk-secret" not in caplog.text
