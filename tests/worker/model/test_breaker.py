"""A worker that its model refuses empties no queue: it acquires no jobs, re-queues its own, logs it, and probes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.breaker import CircuitBreaker
from readalong.worker.model.gate import Gates
from tests.readalong.helpers import command, types
from tests.support.waiting import until
from tests.worker.doors import YES, door, refusal
from tests.worker.helpers import Backend, demo_at, settings_for, working
from tests.worker.raw import reply

KEY = "sk-wrong-key-0123456789"


def patient(backend: Backend, seconds: float = 60) -> Settings:
    return settings_for(str(backend.settings.redis_url), model_patience=seconds, lease=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.worker.model.breaker._FIRST", 0.1)


@pytest.fixture
def port(port: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return port


async def refused(backend: Backend, worker: str = "w1") -> str:
    """Returns `refused` of the worker's liveness record."""
    sign: bytes = await command(backend.redis, "GET", backend.keys.worker(worker)) or b""
    return sign.partition(b'"refused":"')[2].partition(b'"')[0].decode()


async def test_with_one_wrong_key_and_a_right_one_all_jobs_are_done(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [await backend.submit(rate=0, demo={"tokens": 3}) for _ in range(27)]
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    async with demo_at(monkeypatch), working(patient(backend), "wrong"):
        await until(lambda: refused(backend, "wrong"), "its liveness record")
        monkeypatch.setenv("OPENAI_API_KEY", "right")
        async with working(patient(backend), "right"):
            ends = [(await backend.ended(job_id))[-1].type for job_id in jobs]
            assert await refused(backend, "wrong") == "model_unauthorized"
            assert await refused(backend, "right") == ""
    assert ends == ["done"] * 27
    for job_id in jobs:
        reasons = {event.fields()["reason"] for event in await backend.events(job_id) if event.type == "restarted"}
        assert reasons <= {"model_unauthorized"}
        assert await command(backend.redis, "HGET", backend.keys.job(job_id), "lost") == b"0"
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "model_unauthorized: 'The model refused our credentials (401).'" in line.getMessage()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(401), "model_unauthorized"),
        (refusal(404, "Not Found"), "model_not_found"),
        (reply(b"<p>Welcome", "text/html"), "model_malformed"),
    ],
    ids=["key", "address", "page"],
)
async def test_jobs_fail_once_no_worker_has_got_through_for_the_patience(
    backend: Backend, port: int, answer: bytes, code: str
) -> None:
    """Each fails with the model's error, and only few of them call the model."""
    jobs = [await backend.submit() for _ in range(27)]
    settings = patient(backend, 1).model_copy(update={"max_jobs": 5})
    async with door(port, lambda *_: answer) as asked, working(settings):
        for job_id in jobs:
            events = await backend.ended(job_id)
            assert (events[-1].type, events[-1].fields()["error"]["code"]) == ("failed", code)
        assert len(asked) < 27
    assert KEY not in str([await backend.events(job_id) for job_id in jobs])


async def test_a_worker_takes_again_as_soon_as_its_model_lets_it_in(
    backend: Backend, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [refusal(401)]
    async with door(port, lambda *_: answers[-1]), working(patient(backend)):
        jobs = [await backend.submit() for _ in range(5)]
        await until(lambda: refused(backend), "its liveness record")
        answers.append(YES)
        assert [(await backend.ended(job_id))[-1].type for job_id in jobs] == ["done"] * 5
        await until(lambda: _takes(backend), "its liveness record")
    assert "lets this worker in again" in caplog.text


async def _takes(backend: Backend) -> bool:
    return not await refused(backend)


async def test_a_job_that_the_model_refuses_alone_fails_at_once(backend: Backend, port: int) -> None:
    """Other jobs succeed, so the worker is not at fault."""

    def answer_to(_: str, model: str) -> bytes:
        return YES if model == "mine" else refusal(int(model[-3:]), f"You may not use {model}.")

    async with door(port, answer_to), working(patient(backend)):
        # Even in a worker that has never reached a model: the error names the model.
        unknown = await backend.ended(await backend.submit("theirs-404"))
        assert types(unknown) == ["queued", "started", "failed"]
        assert (await backend.ended(await backend.submit("mine")))[-1].type == "done"
        for model in ("theirs-403", "theirs-404"):
            assert types(await backend.ended(await backend.submit(model))) == ["queued", "started", "failed"]
        assert await refused(backend) == ""


async def test_what_one_model_says_ends_no_job_of_another(backend: Backend, port: int) -> None:
    """This also holds in a worker that has never reached a model: a client may have chosen that model on purpose."""

    def answer_to(_: str, model: str) -> bytes:
        return YES if model == "mine" else reply(b"", status="302 Found", Location="https://elsewhere.example/")

    settings = patient(backend, 1).model_copy(update={"max_jobs": 1})
    jobs = [await backend.submit(model) for model in ("theirs", "theirs", "mine")]
    async with door(port, answer_to), working(settings):
        ends = [(await backend.ended(job_id))[-1] for job_id in jobs]
    assert [end.type for end in ends] == ["failed", "failed", "done"]
    assert {end.fields()["error"]["code"] for end in ends[:2]} == {"model_redirected"}


async def test_only_a_model_that_was_refused_waits_for_the_next_probe(backend: Backend) -> None:
    """With a wrong key each model is called once, and then all together as seldom as one."""
    breaker = CircuitBreaker(patient(backend), Gates())
    error = ModelError("model_unauthorized", "No.", retryable=False, status=401, refuses=True)
    for model in ("theirs", "mine"):
        assert breaker.allow(model)
        assert breaker.record_refusal(error, model, asyncio.get_running_loop().time(), 0.0, again=False)
        assert not breaker.allow(model)
    breaker.record_success()
    assert not breaker.is_open


async def test_a_key_that_is_refused_for_one_model_keeps_no_other_job(backend: Backend, port: int) -> None:
    """A proxy's own key for one model may be wrong: that job fails once other jobs have succeeded."""

    def answer_to(_: str, model: str) -> bytes:
        return YES if model == "mine" else refusal(401)

    async with door(port, answer_to), working(patient(backend)):
        assert (await backend.ended(await backend.submit("mine")))[-1].type == "done"
        theirs = await backend.submit("theirs")
        await until(lambda: refused(backend), "its liveness record")
        mine = [await backend.submit("mine") for _ in range(3)]
        assert [(await backend.ended(job_id))[-1].type for job_id in mine] == ["done"] * 3
        events = await backend.ended(theirs)
        assert (events[-1].type, events[-1].fields()["error"]["code"]) == ("failed", "model_unauthorized")
