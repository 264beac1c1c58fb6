"""The OpenAI provider sends requests unchanged, translates errors, and closes connections."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.core.sse import Decoder
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import Redactor
from tests.support.model import REFUSALS
from tests.support.servers import free_port
from tests.support.waiting import WITHIN, until
from tests.worker.helpers import ASKED, demo_model
from tests.worker.raw import DONE, HELLO, SSE, raw_server, reply

KEY = "sk-secret-0123456789abcdef"
REQUEST = {"model": "demo-fast", "messages": ASKED, "stream": True}


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@asynccontextmanager
async def model_at(monkeypatch: pytest.MonkeyPatch, url: str, **settings: Any) -> AsyncIterator[OpenAIProvider]:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    model = OpenAIProvider(Settings(**settings), Redactor())
    try:
        yield model
    finally:
        await model.close()


async def body_of(model: OpenAIProvider, request: dict[str, Any] | None = None) -> bytes:
    async with model.body(request or REQUEST) as pieces:
        return b"".join([piece async for piece in pieces])


async def failure(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> ModelError:
    async with raw_server(answer) as server, model_at(monkeypatch, server.url) as model:
        with pytest.raises(ModelError) as caught:
            await body_of(model)
    return caught.value


@pytest.mark.parametrize(("status", "code", "retryable"), [(status, *refusal) for status, refusal in REFUSALS.items()])
async def test_each_status_has_its_code_and_says_whether_to_try_again(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, retryable: bool
) -> None:
    error = await failure(monkeypatch, reply(b'{"error":{"message":"because"}}', status=f"{status} No"))
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, None)
    assert str(status) in error.message
    assert ("because" in error.message) is (code != "model_unauthorized")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"because"}}', "because"),
        (b'{"message":"because"}', "because"),
        (b'{"error":"because"}', "because"),
        (b'{"error":{}}', "Not so"),
        (b'{"error":null}', "Not so"),
        (b'["because"]', "because"),
        (b'[{"error":{"message":"because"}}]', "because"),
        (b'{"detail":"because"}', "because"),
        (b'{"detail":[{"loc":["body","n"],"msg":"because"}]}', "body.n: because"),
        (b'{"errors":{"message":{"text":"because"}}}', "because"),
        (b"because", "because"),
        (b"\xff\xfe", "Not so"),
        (b"<p>because", "Not so"),
        (b"", "Not so"),
    ],
)
async def test_the_reason_of_a_refusal_is_the_servers_own_or_its_status_line(
    monkeypatch: pytest.MonkeyPatch, body: bytes, said: str
) -> None:
    error = await failure(monkeypatch, reply(body, status="400 Not so"))
    assert error.message == f"The model answered 400: {said}"


@pytest.mark.parametrize(
    ("status", "told", "named"),
    [
        (400, b'{"error":{"message":"m","param":"messages[1].role","code":"long"}}', ("messages[1].role", "long")),
        (400, b'{"message":"m","param":"n","code":"400"}', ("n", None)),
        (429, b'{"error":{"message":"m","param":null,"code":"insufficient_quota"}}', (None, "insufficient_quota")),
        (400, b'{"error":{"message":"m","param":["n"],"code":7}}', (None, None)),
        (400, b'{"error":{"message":"m","param":"%s"}}' % (b"n" * 201), (None, None)),
        # It is not the client whose key is wrong.
        (401, b'{"error":{"message":"m","param":"key","code":"invalid_api_key"}}', (None, None)),
    ],
)
async def test_a_refusal_names_what_the_server_finds_wrong(
    monkeypatch: pytest.MonkeyPatch, status: int, told: bytes, named: tuple[str | None, str | None]
) -> None:
    error = await failure(monkeypatch, reply(told, status=f"{status} No"))
    assert (error.param, error.model_code) == named


@pytest.mark.parametrize(
    ("status", "message", "away", "refuses"),
    [
        *((status, "because", True, False) for status in (429, 502, 503, 504, 521, 522, 523, 529)),
        *((status, "because", False, False) for status in (400, 408, 409, 422, 500)),
        *((status, "because", False, True) for status in (401, 402, 403, 404)),
        *((status, "Unknown: Demo-Fast", False, False) for status in (403, 404)),
        (404, "The API deployment for this resource does not exist.", False, False),
        (429, "insufficient_quota", False, True),
    ],
)
async def test_a_refusal_says_whether_the_model_is_away_or_refuses_the_worker(
    monkeypatch: pytest.MonkeyPatch, status: int, message: str, *, away: bool, refuses: bool
) -> None:
    """An exhausted account is not a server that is away. An error that names the model concerns only the job."""
    error = await failure(monkeypatch, reply(b'{"error":{"message":"%s"}}' % message.encode(), status=f"{status} No"))
    assert (error.status, error.away, error.refuses) == (status, away, refuses)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "0.5"}, 0.5),
        ({"retry_after_ms": "250", "Retry_After": "7"}, 0.25),
        ({"Date": "Sun, 22 Nov 2026 22:00:00 GMT", "Retry_After": "Sun, 22 Nov 2026 22:00:09 GMT"}, 9.0),
        ({"Date": "Sun, 22 Nov 2026 22:00:00 GMT", "Retry_After": "Sunday, 22-Nov-26 22:00:09 GMT"}, 9.0),
        ({"Date": "Sun, 22 Nov 2026 22:00:00 GMT", "Retry_After": "Sun, 22 Nov 2026 21:00:00 GMT"}, 0.0),
        ({"Date": "Sun, 22 Nov 2026 22:00:00 GMT", "Retry_After": "Sun, 22 Nov 2099 22:00:00 GMT"}, None),
        ({"Retry_After": "Sun, 22 Nov 1998 22:00:00 GMT"}, 0.0),
        ({"Date": "soon", "Retry_After": "Sun, 22 Nov 1998 22:00:00 GMT"}, 0.0),
        ({"Retry_After": "Sun, 99 Nov 2026 22:00:00 GMT"}, None),
        ({"Retry_After": "Sun, 22 Nov 2026 22:00:00 +99999999999999"}, None),
        ({"Date": "Sun, 22 Nov 9999999999999999999 22:00:00 GMT", "Retry_After": "Sun, 22 Nov 1998 22:00:00 GMT"}, 0.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-1"}, None),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "1e9"}, None),
        ({"retry_after_ms": "soon", "Retry_After": "7"}, 7.0),
    ],
)
async def test_retry_after_is_seconds_where_it_makes_sense(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seconds: float | None
) -> None:
    assert (await failure(monkeypatch, reply(b"{}", status="429 No", **headers))).retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("form", ['{"error":{"message":"bad key %s"}}', '{"message":"%s"}', '{"error":"%s"}', "%s"])
async def test_a_server_that_echoes_the_key_does_not_make_us_tell_it(
    monkeypatch: pytest.MonkeyPatch, status: int, form: str
) -> None:
    error = await failure(monkeypatch, reply((form % KEY).encode(), status=f"{status} No"))
    assert KEY not in f"{error.message} {error!r} {error.__cause__!r}"


async def test_a_long_reason_is_cut_after_the_key_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated first, the beginning of a key across the limit would stay."""
    long = "x" * 490 + KEY + "y" * 10_000
    error = await failure(monkeypatch, reply(orjson.dumps({"error": {"message": long}}), status="400 No"))
    assert KEY[:8] not in error.message
    assert len(error.message) < 600


async def test_a_refusal_that_does_not_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would fill the memory until the job's time is over."""
    endless = b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000000\r\n\r\n" + b" " * 200_000
    async with raw_server(endless, keep_open=True) as server, model_at(monkeypatch, server.url) as model:
        with pytest.raises(ModelError) as caught:
            async with asyncio.timeout(WITHIN):
                await body_of(model)
    assert (caught.value.code, caught.value.message) == ("model_error", "The model answered 503: Busy")


async def test_a_refused_connection_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async with model_at(monkeypatch, f"http://127.0.0.1:{free_port()}/v1") as model:
        with pytest.raises(ModelError) as caught:
            await body_of(model)
    assert (caught.value.code, caught.value.retryable, caught.value.connected) == ("model_unreachable", True, False)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_model_that_hangs_up_before_it_answers_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    error = await failure(monkeypatch, answer)
    assert (error.code, error.retryable, error.away, error.connected) == ("model_unreachable", True, True, True)


async def test_an_answer_that_is_no_http_fails_its_own_job_and_makes_no_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server is reachable: jobs of its other models must not wait."""
    error = await failure(monkeypatch, b"no HTTP at all\r\n\r\n")
    assert (error.code, error.retryable, error.away) == ("model_malformed", True, False)


async def test_a_body_that_breaks_off_is_a_cut_and_what_came_before_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SSE.replace(b"Connection: close", b"Content-Length: 9999") + HELLO
    got: list[bytes] = []

    async def read(model: OpenAIProvider) -> None:
        async with model.body(REQUEST) as pieces:
            async for piece in pieces:
                got.append(piece)

    async with raw_server(answer) as server, model_at(monkeypatch, server.url) as model:
        with pytest.raises(ModelError) as caught:
            await read(model)
    assert (caught.value.code, caught.value.retryable) == ("model_cut", True)
    assert b"".join(got) == HELLO


async def test_the_bytes_of_a_stream_come_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b": comment\r\n\r\n" + HELLO + "data: \u2028\n\n".encode() + b"\xff" + DONE
    async with raw_server(SSE + body) as server, model_at(monkeypatch, server.url) as model:
        assert await body_of(model) == body


async def test_a_compressed_stream_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = reply(gzip.compress(HELLO + DONE), kind="text/event-stream", Content_Encoding="gzip")
    async with raw_server(answer) as server, model_at(monkeypatch, server.url) as model:
        assert await body_of(model) == HELLO + DONE


async def test_a_json_answer_to_a_request_for_a_stream_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    pretty = b'{\r\n  "choices": [\n {"message": {"content": "a\\nb"}}]\n}\n'
    answer = reply(pretty, kind="application/json; charset=utf-8")
    async with raw_server(answer) as server, model_at(monkeypatch, server.url) as model:
        message, done = Decoder().feed(await body_of(model))
    assert done.data == b"[DONE]"
    assert orjson.loads(message.data) == orjson.loads(pretty)


@pytest.mark.parametrize("kind", ["text/html", "image/png", "x" * 500])
async def test_a_page_in_place_of_an_answer_is_told_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    error = await failure(monkeypatch, reply(b"<p>Welcome", kind=kind))
    assert (error.code, error.retryable) == ("model_malformed", False)
    assert kind[:80] in error.message
    assert len(error.message) < 200


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream;charset=utf-8", "text/plain", ""])
async def test_a_stream_is_known_by_its_type_or_by_none(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async with raw_server(reply(HELLO, kind=kind)) as server, model_at(monkeypatch, server.url) as model:
        assert await body_of(model) == HELLO


async def test_every_parameter_goes_to_the_model_as_it_came_unknown_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    request = {
        **REQUEST,
        "messages": [*ASKED, {"role": "assistant", "content": None, "weight": 0, "tool_calls": []}],
        "temperature": 0.0,
        "top_p": 0.5,
        "n": 1,
        "max_tokens": 7,
        "max_completion_tokens": 9,
        "stop": ["\n", "x"],
        "presence_penalty": -0.5,
        "frequency_penalty": 0.25,
        "logit_bias": {"50256": -100},
        "logprobs": False,
        "top_logprobs": 0,
        "user": "ü",
        "seed": 3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "none",
        "functions": [{"name": "g"}],
        "function_call": "none",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"const": None}}},
        "reasoning_effort": "low",
        "service_tier": "auto",
        "store": False,
        "metadata": {"a": "b"},
        "prediction": {"type": "content", "content": ""},
        "modalities": ["text"],
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "top_k": 5,
        "unknown_field": {"this": [None, True, 1.5, "\u2028"]},
        "extra_headers": {"not": "a header"},
        "timeout": 0,
    }
    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        await body_of(model, request)
        assert await demo.bodies() == [request]


async def test_each_call_has_its_own_body_and_model_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[dict[str, Any]] = [
        {**REQUEST, "model": name, "user": "ü" * turn, "demo": {"tokens": 1, "tokens_per_second": 0}}
        for turn, name in enumerate(["a", "b", "a", "c", "a"])
    ]
    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        for request in requests:
            await body_of(model, request)
        assert await demo.bodies() == requests


async def test_a_server_without_keys_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        assert DONE in await body_of(model)


@pytest.mark.parametrize("how", ["break", "error", "before the first byte"])
async def test_leaving_the_block_closes_the_connection(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    async def leave(model: OpenAIProvider) -> None:
        async with model.body({**REQUEST, "model": "demo-endless"}) as pieces:
            if how != "before the first byte":
                await anext(pieces)
            await demo.streaming()
            if how == "error":
                raise ZeroDivisionError

    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        if how == "error":
            with pytest.raises(ZeroDivisionError):
                await leave(model)
        else:
            await leave(model)
        assert (await demo.left_alone())["gone"] == 1


async def test_a_connection_that_is_reset_in_mid_stream_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        with pytest.raises(ModelError) as caught:
            await body_of(model, {**REQUEST, "model": "demo-reset", "demo": {"tokens_per_second": 2000}})
    assert (caught.value.code, caught.value.retryable) == ("model_cut", True)


async def test_a_model_that_does_not_accept_connections_in_time_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener with a full backlog drops further connections, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            async with model_at(monkeypatch, f"http://127.0.0.1:{address[1]}/v1", connect_timeout=0.2) as model:
                with pytest.raises(ModelError) as caught:
                    await body_of(model)
    assert (caught.value.code, caught.value.retryable) == ("model_timeout", True)


async def test_more_streams_than_a_hundred_are_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that waited for a free connection would look like a slow model."""
    count = 120

    async def hang(model: OpenAIProvider) -> None:
        await body_of(model, {**REQUEST, "model": "demo-hang"})

    async with demo_model() as demo, model_at(monkeypatch, demo.url) as model:
        calls = [asyncio.create_task(hang(model)) for _ in range(count)]

        async def all_open() -> bool:
            return bool((await demo.stats())["open"] == count)

        await until(all_open)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await demo.left_alone())["gone"] == count
