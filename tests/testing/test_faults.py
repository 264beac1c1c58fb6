"""Each misbehaviour of the model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from readalong.testing import text_for, tokens_for
from readalong.testing.faults import MALFORMED, NOT_SSE
from tests.testing.support import MESSAGES, Server, ask, deltas, finish, parsed, running, text


async def until_silent(reader: asyncio.StreamReader, tokens: int) -> bytes:
    """Reads a text of so many tokens; the first chunk has the role."""
    read = b""
    while read.count(b"data: ") < tokens + 1 or not read.endswith(b"\n\n\r\n"):
        piece = await reader.read(65536)
        assert piece, "the connection was closed"
        read += piece
    return read


async def test_stall_sends_some_tokens_and_then_says_nothing_until_the_client_goes() -> None:
    async with running() as server:
        async with server.raw(ask("demo-stall", demo={"after": 4})) as reader:
            await until_silent(reader, 4)
            shown = await server.stats_when(lambda s: s["tokens"] == 4)
            assert shown["open"] == 1
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
        await server.stats_when(lambda s: s["gone"] == 1 and s["open"] == 0)


async def test_hang_never_sends_headers_and_ends_when_the_client_goes() -> None:
    async with running() as server:
        async with server.raw(ask("demo-hang")) as reader:
            await server.stats_when(lambda s: s["open"] == 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
        await server.stats_when(lambda s: s["gone"] == 1)


@pytest.mark.parametrize("pace", [0, 500])
async def test_cut_breaks_the_body_after_some_tokens(pace: int) -> None:
    async with running() as server, server.raw(ask("demo-cut", demo={"tokens_per_second": pace})) as reader:
        raw = await reader.read()
        assert raw.count(b"data: ") == 13
        assert not raw.endswith(b"0\r\n\r\n")
        assert (await server.stats_when(lambda s: s["open"] == 0))["broken"] == 1


async def test_cut_raises_in_the_openai_package() -> None:
    async with running() as server:
        stream: Any = await server.create(
            model="demo-fast+cut",
            messages=MESSAGES,
            stream=True,
        )
        with pytest.raises(openai.APIConnectionError):
            _ = [chunk async for chunk in stream]
        with pytest.raises(openai.APIConnectionError):
            await server.create(
                model="demo-cut",
                messages=MESSAGES,
            )


async def test_reset_resets_the_connection() -> None:
    async with running() as server, server.raw(ask("demo-reset", demo={"tokens_per_second": 300})) as reader:
        with pytest.raises(ConnectionResetError):
            await reader.read()


@pytest.mark.parametrize(("name", "status"), [("429", 429), ("500", 500)])
async def test_a_refused_request_succeeds_after_the_given_times(name: str, status: int) -> None:
    async with running() as server:
        body = ask(f"demo-{name}", demo={"times": 2, "key": "a"})
        statuses = [(await server.post(body))[0] for _ in range(3)]
        assert statuses == [status, status, 200]
        assert (await server.post(ask(f"demo-{name}", demo={"times": 1, "key": "b"})))[0] == status
        assert (await server.post(ask(f"demo-{name}")))[0] == status
        assert (await server.stats())["refused"] == 4


async def test_429_tells_when_to_come_back() -> None:
    async with running() as server:
        with pytest.raises(openai.RateLimitError) as caught:
            await server.create(
                model="demo-429",
                messages=MESSAGES,
                extra_body={"demo": {"retry_after": 2}},
            )
        assert caught.value.response.headers["retry-after"] == "2"
        assert caught.value.code == "rate_limit_exceeded"


async def test_500_is_an_internal_server_error() -> None:
    async with running() as server:
        with pytest.raises(openai.InternalServerError):
            await server.create(
                model="demo-500",
                messages=MESSAGES,
            )


async def test_malformed_sends_one_chunk_that_is_no_json_and_goes_on() -> None:
    async with running() as server:
        events = await server.events(ask("demo-malformed"))
        broken = [place for place, event in enumerate(events) if isinstance(event, bytes)]
        assert broken == [13]
        assert events[13] == MALFORMED.strip().removeprefix(b"data: ")
        assert text(events) == text_for(ask())
        _, raw = await server.post(ask("demo-malformed"))
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(raw)


async def test_error_ends_the_stream_with_an_error_object() -> None:
    async with running() as server:
        events = await server.events(ask("demo-error"))
        assert events[-1]["error"]["type"] == "server_error"
        assert len(events) == 14
        stream: Any = await server.create(
            model="demo-fast+error",
            messages=MESSAGES,
            stream=True,
        )
        with pytest.raises(openai.APIError, match="had an error"):
            _ = [chunk async for chunk in stream]


async def test_close_early_ends_in_good_order_without_a_reason_or_done() -> None:
    async with running() as server:
        events = await server.events(ask("demo-close-early", demo={"after": 3}))
        assert [delta["content"] for delta in deltas(events)[1:]] == list(tokens_for(ask())[:3])
        assert finish(events) is None
        assert "[DONE]" not in events


async def test_a_fault_strikes_before_the_finish_of_a_short_answer() -> None:
    async with running() as server:
        events = await server.events(ask("demo-close-early", demo={"tokens": 2}))
        assert len(deltas(events)) == 3
        assert finish(events) is None


async def test_endless_goes_on_after_its_text_has_ended() -> None:
    async with running() as server:
        async with server.raw(ask("demo-endless")) as reader:
            length = len(tokens_for(ask()))
            read = 0
            while read < 2 * length:
                piece = await reader.read(65536)
                assert piece
                read += piece.count(b"data: ")
        await server.stats_when(lambda s: s["gone"] == 1)
        status, raw = await server.post(ask("demo-endless"))
        assert status == 200
        assert orjson.loads(raw)["choices"][0]["finish_reason"] == "length"


async def test_not_sse_is_a_page() -> None:
    async with running() as server:
        response = await server.http.post(f"{server.url}/chat/completions", json=ask("demo-not-sse"))
        assert (response.status, response.content_type) == (200, "text/html")
        assert await response.read() == NOT_SSE


async def test_split_sends_odd_writes_that_cut_characters() -> None:
    body = ask("demo-split", demo={"behaviour": "unicode", "tokens": 150})
    async with running() as server, server.raw(body) as reader:
        await reader.readuntil(b"\r\n\r\n")
        parts = [part async for part in http_chunks(reader)]
        assert any(len(part) == 1 for part in parts)
        assert any(undecodable(part) for part in parts)
        events = [parsed(line) for line in b"".join(parts).split(b"\n") if line.startswith(b"data: ")]
        assert text(events) == text_for(body)


async def http_chunks(reader: asyncio.StreamReader) -> Any:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


def undecodable(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return True
    return False


async def test_crlf_ends_every_line_so_and_adds_comments() -> None:
    async with running() as server:
        _, raw = await server.post(ask("demo-crlf", stream=True))
        assert raw.count(b"\n") == raw.count(b"\r\n")
        assert raw.count(b": keep-alive\r\n\r\n") > 2
        events = [parsed(line) for line in raw.split(b"\n") if line.startswith(b"data: ")]
        assert text(events) == text_for(ask())
        stream: Any = await server.create(
            model="demo-fast+crlf",
            messages=MESSAGES,
            stream=True,
        )
        told = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(told) == text_for(ask())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{no json", None),
        (b"\xff\xfe", None),
        (b"[]", None),
        ({"messages": MESSAGES}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": "demo", "messages": ["hi"]}, "messages[0]"),
        ({"model": "demo", "messages": [{"role": "king"}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": ["user"]}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (ask(n=0), "n"),
        (ask(n=129), "n"),
        (ask(max_tokens="many"), "max_tokens"),
        (ask(temperature=3), "temperature"),
        (ask(stop=[1]), "stop"),
        (ask(stream="yes"), "stream"),
        (ask(tools=[1]), "tools"),
        (ask(tools=[{"function": {}}]), "tools[0].name"),
        (ask(demo={"behaviour": "dance"}), "demo.behaviour"),
        (ask(demo={"tokens_per_second": -1}), "demo.tokens_per_second"),
        (ask(demo={"tokens": 1.5}), "demo.tokens"),
    ],
)
async def test_a_bad_request_is_a_400_that_names_the_field(body: object, param: str | None) -> None:
    async with running() as server:
        status, raw = await server.post(body)
        error = orjson.loads(raw)["error"]
        assert status == 400
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_only_the_key_wrong_is_refused() -> None:
    async with running() as server:
        await refused(server, {"Authorization": "Bearer wrong"})
        await refused(server, {"api-key": "wrong"})
        with pytest.raises(openai.AuthenticationError):
            await server.create(model="demo", messages=MESSAGES, extra_headers={"Authorization": "Bearer wrong"})


async def refused(server: Server, headers: dict[str, str]) -> None:
    url = f"{server.url}/chat/completions"
    async with server.http.post(url, json=ask(), headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


async def test_a_client_can_use_its_connection_again_after_a_stream() -> None:
    async with running() as server, aiohttp.ClientSession() as http:
        for _ in range(3):
            async with http.post(f"{server.url}/chat/completions", json={**ask(), "stream": True}) as response:
                assert (await response.read()).endswith(b"data: [DONE]\n\n")
        connector = http.connector
        assert connector is not None
        assert len(connector._conns) == 1


@pytest.mark.parametrize("name", ["cut", "close-early", "error", "not-sse"])
async def test_what_goes_wrong_in_an_answer_goes_right_after_the_given_times(name: str) -> None:
    """A client that retries succeeds in the end."""
    async with running() as server:
        body = ask(f"demo-{name}", demo={"times": 1, "key": "a", "tokens": 20, "after": 5})
        with suppress(aiohttp.ClientPayloadError):  # of those that break off in the middle of a chunk
            assert text(await server.events(body)) != text_for(body)
        assert text(await server.events(body)) == text_for(body)
