"""Jobs against servers that send exact bytes, for cases that the demo model does not have."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from readalong.core.events import Event
from tests.worker.helpers import House, settings_for, text_of, working
from tests.worker.raw import DONE, HELLO, SSE, raw_server, reply

_CHUNKED = SSE.replace(b"Connection: close", b"Transfer-Encoding: chunked")


async def raw_run(house: House, monkeypatch: pytest.MonkeyPatch, *answers: bytes, **changes: Any) -> list[Event]:
    """Runs one job against a server that answers with these bytes."""
    settings = settings_for(str(house.settings.redis_url), **changes)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(raw_server(*answers))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        await stack.enter_async_context(working(settings))
        return await house.ended(await house.submit())


async def test_a_model_that_answers_whole_is_told_all_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}], "usage": {"a": 1}}
    events = await raw_run(house, monkeypatch, reply(orjson.dumps(body)))
    assert (text_of(events), events[-1].type) == ("hello", "done")
    assert events[-1].fields()["usage"] == {"a": 1}


async def test_a_stream_that_ends_without_done_after_its_finish_reason_is_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await raw_run(house, monkeypatch, SSE + HELLO)
    assert (text_of(events), events[-1].type) == ("hello", "done")


@pytest.mark.parametrize(
    "answer",
    [
        _CHUNKED + b"%x\r\n%b\r\n" % (len(HELLO + DONE), HELLO + DONE),
        SSE.replace(b"Connection: close", b"Content-Length: 5000") + HELLO + DONE,
    ],
    ids=["no last chunk", "too short"],
)
async def test_a_body_that_breaks_off_after_done_is_whole(
    house: House, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """A server or a proxy that drops the connection after a complete answer cuts nothing off."""
    events = await raw_run(house, monkeypatch, answer, model_retries=0)
    assert (text_of(events), events[-1].type) == ("hello", "done")


async def test_a_first_chunk_that_cannot_be_read_is_asked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await raw_run(house, monkeypatch, SSE + b"data: half a ch\n\n", SSE + HELLO + DONE)
    assert (text_of(events), events[-1].type) == ("hello", "done")


async def test_a_line_without_end_is_too_large_an_answer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = SSE + HELLO.replace(b'"stop"', b"null") + b"data: " + b"x" * 200_000
    events = await raw_run(house, monkeypatch, endless, max_answer_bytes=100_000)
    assert (text_of(events), events[-1].type) == ("hello", "failed")
    assert events[-1].fields()["error"]["code"] == "model_answer_too_large"


async def test_an_error_in_mid_stream_that_echoes_the_key_does_not_tell_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-secret-0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    error = SSE + b'data: {"error":{"message":"bad key %s"}}\n\n' % key.encode()
    events = await raw_run(house, monkeypatch, error, model_retries=0)
    assert events[-1].fields()["error"]["code"] == "model_error"
    assert all(key.encode() not in event.data for event in events)
    assert key not in str(await house.record(events[0].fields()["job_id"]))


async def test_an_unreachable_model_fails_the_job(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    events = await raw_run(house, monkeypatch, b"", model_retries=0)
    assert events[-1].fields()["error"]["code"] == "model_unreachable"
