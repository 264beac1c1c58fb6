"""The user's own generator answers jobs like a model server, and its faults harm no other job."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from readalong.core.errors import BadSettings
from readalong.core.settings import Settings
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.providers import Providers
from readalong.worker.model.redaction import RedactingFilter, Redactor
from tests.readalong.helpers import command, types
from tests.support.waiting import until
from tests.worker import generators
from tests.worker.generators import PATH, SECRET
from tests.worker.helpers import Backend, demo_at, settings_for, text_of, working


@pytest.fixture(autouse=True)
def _no_model_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _fresh_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "closed", [])
    monkeypatch.setattr(generators, "waits", asyncio.Event())
    monkeypatch.setattr(generators, "free", asyncio.Event())


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log as a worker's own handlers write it, with a secret in the environment."""
    monkeypatch.setenv("ANOTHER_VENDORS_API_KEY", SECRET)
    cleaner = RedactingFilter(Redactor([SECRET]))
    caplog.handler.addFilter(cleaner)
    yield caplog
    caplog.handler.removeFilter(cleaner)


def with_providers(backend: Backend, *names: str, **changes: Any) -> Settings:
    paths = ",".join(f"{name}={PATH}:{name}" for name in names)
    return settings_for(str(backend.settings.redis_url), providers=paths, model_retries=0, **changes)


async def run(backend: Backend, name: str, **changes: Any) -> list[Any]:
    """Returns the log of one job of a provider."""
    async with working(with_providers(backend, name, **changes)):
        return await backend.ended(await backend.submit(name))


@pytest.mark.parametrize("model", ["words", "words/large"])
async def test_the_text_of_a_generator_is_a_jobs_content(backend: Backend, model: str) -> None:
    async with working(with_providers(backend, "words")):
        events = await backend.ended(await backend.submit(model))
    end = events[-1].fields()
    assert (events[-1].type, text_of(events), end["finish_reason"]) == ("done", "Howdoesanumbrellawork?", "stop")
    assert end["metrics"]["chunk_count"] == 5


async def test_its_events_are_a_jobs_events_and_its_request_is_a_copy(backend: Backend) -> None:
    async with working(with_providers(backend, "events")):
        job_id = await backend.submit("events")
        events = await backend.ended(job_id)
    said = [(event.type, event.fields()) for event in events[2:]]
    assert said[:2] == [("reasoning", {"content": "Hm.", "field": "reasoning"}), ("content", {"content": "ü\ufffd"})]
    assert [kind for kind, _ in said[2:]] == ["tool_call_delta", "tool_call_delta", "tool_call", "done"]
    assert said[4][1] == {"index": 0, "id": "c1", "name": "f", "arguments": {"a": 1}}
    assert (said[5][1]["finish_reason"], said[5][1]["usage"]) == ("tool_calls", {"completion_tokens": 3})


async def test_a_generator_that_says_nothing_is_done(backend: Backend) -> None:
    events = await run(backend, "nothing")
    assert (events[-1].type, events[-1].fields()["content"]) == ("done", "")


async def test_other_models_are_the_model_servers_or_not_there(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(with_providers(backend, "words")):
        events = await backend.ended(await backend.submit("words-2"))
    assert events[-1].fields()["error"]["code"] == "model_not_found"
    async with demo_at(monkeypatch), working(with_providers(backend, "words")):
        jobs = [await backend.submit(name, rate=0) for name in ("demo", "words")]
        ends = [(await backend.ended(job))[-1].type for job in jobs]
    assert ends == ["done", "done"]


@pytest.mark.parametrize(
    ("name", "code", "retryable", "message"),
    [
        ("raises", "model_error", True, "The provider raised ValueError."),
        ("refuses", "no_credit", False, "The key *** has no credit."),
        ("exits", "model_error", True, "The provider raised SystemExit."),
        ("cancels_itself", "model_error", True, "The provider raised CancelledError."),
        ("a_number", "model_malformed", False, "of type int: it is neither text nor an event"),
        ("an_unknown_event", "model_malformed", False, "an event whose type is not one of content, "),
        ("a_wrong_field", "model_malformed", False, "an event `content` whose field `content` is unknown or of"),
        ("an_unknown_field", "model_malformed", False, "an event `content` whose field `text` is unknown or of"),
        ("no_json", "model_malformed", False, "an event `done` that is not JSON"),
    ],
)
@pytest.mark.usefixtures("masked")
async def test_a_failure_has_a_code_and_keeps_what_was_said(
    backend: Backend, name: str, code: str, message: str, *, retryable: bool
) -> None:
    events = await run(backend, name)
    end = events[-1].fields()
    assert (events[-1].type, end["content"]) == ("failed", "said")
    assert (end["error"]["code"], end["error"]["retryable"]) == (code, retryable)
    assert message in end["error"]["message"]


async def test_a_function_that_returns_no_generator_fails_its_jobs(backend: Backend) -> None:
    for name in ("no_generator", "a_coroutine"):
        error = (await run(backend, name))[-1].fields()["error"]
        assert (error["code"], error["retryable"]) == ("model_malformed", False)
        assert "it is not an async generator" in error["message"]


async def test_a_failure_before_the_first_event_is_tried_again_and_stops_no_worker(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """Such failures of a model server would open the breaker. A provider's failures do not."""
    settings = with_providers(backend, "raises_at_once", "words").model_copy(update={"model_retries": 1})
    async with working(settings):
        bad = await backend.submit("raises_at_once")
        assert (await backend.ended(bad))[-1].fields()["error"]["code"] == "model_error"
        assert (await backend.ended(await backend.submit("words")))[-1].type == "done"
    assert caplog.text.count("provider raises_at_once raised") == 2


async def test_no_secret_of_an_exception_reaches_redis_or_the_log(
    backend: Backend, masked: pytest.LogCaptureFixture
) -> None:
    masked.set_level(logging.INFO)
    async with working(with_providers(backend, "raises", "refuses")):
        jobs = [await backend.submit(name) for name in ("raises", "refuses")]
        lines = "".join([str(await backend.ended(job)) for job in jobs])
        lines += "".join([str(await command(backend.redis, "HGETALL", backend.keys.job(job))) for job in jobs])
    assert SECRET not in lines + masked.text
    assert SECRET[6:20] not in lines + masked.text
    assert "ValueError: with the key ***" in masked.text


async def test_a_generator_that_never_ends_is_let_go_at_the_limit_and_others_have_their_turns(backend: Backend) -> None:
    async with working(with_providers(backend, "endless", "words", max_answer_bytes=2_000_000)):
        endless = await backend.submit("endless")
        await backend.has(endless, "content")
        assert (await backend.ended(await backend.submit("words")))[-1].type == "done"
        events = await backend.ended(endless)
    assert events[-1].fields()["error"]["code"] == "model_answer_too_large"
    assert text_of(events).startswith("on and on, on and on")


@pytest.mark.parametrize(
    ("name", "limit", "code"),
    [
        ("mute", {"first_token_timeout": 0.05}, "model_timeout"),
        ("silent", {"stall_timeout": 0.05}, "model_stalled"),
        ("silent", {"job_timeout": 0.3}, "job_timeout"),
    ],
)
async def test_a_silent_generator_has_a_model_servers_times(
    backend: Backend, name: str, limit: dict[str, Any], code: str
) -> None:
    assert (await run(backend, name, **limit))[-1].fields()["error"]["code"] == code


async def cancelled(backend: Backend, name: str) -> list[Any]:
    job_id = await backend.submit(name)
    await asyncio.wait_for(generators.waits.wait(), 60)
    await backend.has(job_id, "content")
    await backend.log.cancel(job_id, "Ada")
    return await backend.ended(job_id)


@pytest.mark.parametrize(("name", "ended"), [("silent", ["cancelled", "cleaned up"]), ("talks_on", ["closed"])])
async def test_a_cancel_closes_the_generator_where_it_waits(backend: Backend, name: str, ended: list[str]) -> None:
    async with working(with_providers(backend, name)):
        events = await cancelled(backend, name)
        assert (types(events)[2:], generators.closed) == (["content", "cancelled"], ended)


async def test_a_generator_that_ignores_its_closing_keeps_no_job(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(with_providers(backend, "deaf", "words")):
        assert (await cancelled(backend, "deaf"))[-1].type == "cancelled"
        assert (await backend.ended(await backend.submit("words")))[-1].type == "done"
        generators.free.set()
    assert generators.closed == ["ignored"]
    assert "provider deaf does not end when it is closed" in caplog.text


async def test_what_is_closed_says_whether_all_generators_have_ended(backend: Backend) -> None:
    """A worker that stops exits without waiting for the others."""
    providers = Providers.from_settings(with_providers(backend, "deaf"))
    async with providers.for_model("deaf").stream({"model": "deaf"}, ChunkAccumulator()) as batches:
        await anext(batches)
        await generators.waits.wait()
    assert not await providers.close()
    generators.free.set()
    await until(lambda: len(asyncio.all_tasks()) == 1, "the generator's end")
    assert await providers.close()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("words", "'words' is not a name=package.module:function"),
        ("a b=m:f", "'a b=m:f' is not a name=package.module:function"),
        ("w=words", "'words' is not a package.module:function"),
        (f"w={PATH}:words,w={PATH}:words", "has the name 'w' twice"),
        ("w=no_such_module:f", "no module 'no_such_module' on the Python path"),
        (f"w={PATH}:no_such", f"{PATH} has no 'no_such'"),
        (f"w={PATH}:NO_FUNCTION", "is not a function"),
        (f"w={PATH}:takes_two", "cannot be called as takes_two(request)"),
        ("w=tests.worker.raising:f", "importing it raised ValueError at raising.py:3"),
    ],
)
async def test_a_bad_path_is_told_at_the_start_in_one_line(setting: str, says: str) -> None:
    with pytest.raises(BadSettings) as caught:
        Providers.from_settings(Settings(providers=setting))
    assert caught.value.message.startswith("READALONG_PROVIDERS: ")
    assert says in caught.value.message
    assert SECRET not in caught.value.message


async def test_the_example_of_the_docs_runs_as_it_is_written(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "providers.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    [setting] = re.findall(r"READALONG_PROVIDERS=(\S+)", text)
    (tmp_path / "my_app").mkdir()
    (tmp_path / "my_app" / "models.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with working(settings_for(str(backend.settings.redis_url), providers=setting)):
        events = await backend.ended(await backend.submit("echo"))
    assert types(events)[2] == "reasoning"
    assert (events[-1].type, text_of(events)) == ("done", "How does an umbrella work? ")
