"""A worker asks the models of a setting by the Responses API, with the guards of every model."""

from __future__ import annotations

import orjson
import pytest

from readalong.core.settings import Settings
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import Redactor
from tests.readalong.helpers import types
from tests.support.servers import RedisServer
from tests.support.waiting import until
from tests.worker.helpers import ASKED, Backend, settings_for, text_of, working
from tests.worker.model.response_streams import CHAT_USAGE, USAGE, begins, ends, says, sse
from tests.worker.raw import DONE, HELLO, SSE, raw_server, reply

OWLS = sse(*begins(), *says(0, "Owls", " hoot"), ends(usage=USAGE))
CUT = sse(*begins(), *says(0, "Owls", " hoot")[:-3])
KEY = "sk-secret-0123456789abcdef"


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return settings_for(redis_server.url, responses_models="up-*, demo", model_retries=0)


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


async def test_the_models_of_the_setting_are_asked_so_and_the_others_by_chat_completions(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response ends the answer, though its connection stays open."""
    async with raw_server(SSE + OWLS, SSE + HELLO + DONE, keep_open=True) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(settings):
            job_id = await backend.submit("up-1", deadline=200, max_tokens=5)
            events = await backend.ended(job_id)
            await backend.ended(await backend.submit("another"))
    assert [head.partition(" HTTP")[0] for head in server.heads] == ["POST /v1/responses", "POST /v1/chat/completions"]
    asked = {"model": "up-1", "input": ASKED, "max_output_tokens": 5, "stream": True, "store": False}
    assert orjson.loads(server.bodies[0]) == asked
    end = events[-1].fields()
    assert (text_of(events), events[-1].type, end["finish_reason"]) == ("Owls hoot", "done", "stop")
    assert end["usage"] == CHAT_USAGE


async def test_a_cut_and_a_silence_fail_the_job_and_keep_its_text(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, keep_open in (("model_cut", False), ("model_stalled", True)):
        async with raw_server(SSE + CUT, keep_open=keep_open) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            async with working(settings.model_copy(update={"stall_timeout": 1})):
                events = await backend.ended(await backend.submit())
        end = events[-1].fields()
        assert (events[-1].type, end["error"]["code"], end["content"]) == ("failed", code, "Owls hoot")


async def test_a_cancel_closes_the_models_connection(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(SSE + CUT, keep_open=True) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(settings):
            job_id = await backend.submit()
            await backend.has(job_id, "content")
            await backend.log.cancel(job_id, "client")
            assert types(await backend.ended(job_id))[-1] == "cancelled"
            await until(lambda: server.left, "the model's connection to close")


async def test_a_job_that_it_cannot_say_fails_without_a_call(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(SSE + OWLS) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(settings):
            events = await backend.ended(await backend.submit(n=2))
    error = events[-1].fields()["error"]
    assert (error["code"], "`n`" in error["message"], server.heads) == ("model_bad_request", True, [])


async def test_a_server_without_this_api_does_not_stop_its_worker(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 that names no model says of chat completions that the address is wrong."""
    async with raw_server(reply(b'{"detail":"Not Found"}', status="404 Not Found")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(settings.model_copy(update={"model_patience": 30})) as work:
            events = await backend.ended(await backend.submit())
            assert not work.worker._runner.access.breaker.is_open
    assert events[-1].fields()["error"]["code"] == "model_not_found"


async def test_secrets_in_what_is_kept_are_masked(
    backend: Backend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = {"type": "response.odd", "headers": {"authorization": f"Bearer {KEY}"}}
    failure = {"type": "error", "code": "server_error", "message": f"no {KEY}"}
    async with raw_server(SSE + sse(echo, *says(0, "Owls"), failure, checked=False)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with working(settings):
            events = await backend.ended(await backend.submit())
    assert KEY not in str(events)
    assert "***" in str(events[2].fields()["extra"])
    assert "***" in events[-1].fields()["error"]["message"]


@pytest.mark.parametrize(
    ("azure", "place"), [(False, "/v1/responses?"), (True, "/openai/responses?api-version=2026-10-01")]
)
async def test_the_address_is_the_servers_own(monkeypatch: pytest.MonkeyPatch, azure: bool, place: str) -> None:
    """On Azure the body names the deployment, and not the path."""
    async with raw_server(SSE + OWLS) as server:
        if azure:
            monkeypatch.delenv("OPENAI_API_KEY")
            monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_API_VERSION", "2026-10-01")
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
        else:
            monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}?")
        model = OpenAIProvider(Settings(), Redactor())
        async with model.body({"model": "up-1", "input": "hi"}, responses=True) as pieces:
            assert b"".join([piece async for piece in pieces]) == OWLS
        await model.close()
    assert server.heads[0].startswith(f"POST {place.rstrip('?')} ")


@pytest.mark.parametrize(
    ("names", "model", "speaks"),
    [
        ("", "gpt-5", False),
        ("gpt-5, o3", "o3", True),
        ("gpt-5, o3", "o3-mini", False),
        ("gpt-5*", "gpt-5-mini", True),
        ("openai/*", "openai/gpt-5", True),
        ("*", "any", True),
        ("GPT-5", "gpt-5", False),
    ],
)
def test_a_name_may_have_stars(names: str, model: str, speaks: bool) -> None:
    assert Settings(responses_models=names).speaks_responses(model) is speaks
