"""A call goes to its model's own address and nowhere else, whatever a server or a name asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import Redactor
from tests.support.servers import free_port, served
from tests.worker.helpers import ASKED, demo_model
from tests.worker.raw import DONE, HELLO, SSE, raw_server, reply

KEY = "sk-secret-0123456789abcdef"
REQUEST = {"model": "demo-fast", "messages": ASKED, "stream": True}


@asynccontextmanager
async def model_at(patch: pytest.MonkeyPatch, url: str, *, azure: bool = False) -> AsyncIterator[OpenAIProvider]:
    if azure:
        patch.setenv("AZURE_OPENAI_API_KEY", KEY)
        patch.setenv("OPENAI_API_VERSION", "2026-10-01")
        patch.setenv("AZURE_OPENAI_ENDPOINT", url.removesuffix("/v1"))
    else:
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("OPENAI_BASE_URL", url)
    model = OpenAIProvider(Settings(), Redactor())
    try:
        yield model
    finally:
        await model.close()


async def body_of(model: OpenAIProvider, /, **changes: Any) -> bytes:
    async with model.body({**REQUEST, **changes}) as pieces:
        return b"".join([piece async for piece in pieces])


async def failure(model: OpenAIProvider, /, **changes: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await body_of(model, **changes)
    return caught.value


@pytest.mark.parametrize("azure", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:{port}/v1/x", "//127.0.0.1:{port}", "http://me:you@127.0.0.1:{port}"]
)
async def test_no_redirect_takes_a_prompt_or_a_key_to_another_origin(
    monkeypatch: pytest.MonkeyPatch, place: str, status: int, azure: bool
) -> None:
    async with raw_server(SSE + HELLO + DONE) as elsewhere:
        away = place.format(port=elsewhere.url.split(":")[2].partition("/")[0])
        async with (
            raw_server(reply(b"", status=f"{status} No", Location=away)) as server,
            model_at(monkeypatch, server.url, azure=azure) as model,
        ):
            error = await failure(model)
    assert (error.code, error.retryable, error.refuses) == ("model_redirected", False, True)
    assert str(status) in error.message
    assert "127.0.0.1" not in error.message
    assert (len(server.heads), elsewhere.heads) == (1, [])


@pytest.mark.parametrize(
    "place", ["http://localhost:{port}/v1", "https://127.0.0.1:{port}/v1", "file:///etc/passwd", "x:"]
)
async def test_another_name_or_scheme_is_another_origin(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    port = free_port()
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply(b"", status="307 No", Location=place.format(port=port)))
        await writer.drain()
        writer.close()

    async with served(port, answer), model_at(monkeypatch, f"http://127.0.0.1:{port}/v1") as model:
        assert (await failure(model)).code == "model_redirected"
    assert len(asked) == 1


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_within_the_origin_is_followed_with_the_same_method(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    moved = reply(b"", status=f"{status} Moved", Location="../other/path#here")
    async with raw_server(moved, SSE + HELLO + DONE) as server, model_at(monkeypatch, server.url) as model:
        assert await body_of(model) == HELLO + DONE
    assert [head.split(" HTTP")[0] for head in server.heads] == ["POST /v1/chat/completions", "POST /v1/other/path"]
    assert all(f"authorization: Bearer {KEY}" in head for head in server.heads)


async def test_a_redirect_that_would_lose_the_prompt_or_never_end_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for status, requests in ((302, 1), (307, 6)):
        answer = reply(b"", status=f"{status} Moved", Location="/v1/again")
        async with raw_server(answer) as server, model_at(monkeypatch, server.url) as model:
            assert (await failure(model)).code == "model_redirected"
        assert len(server.heads) == requests


async def test_a_server_gets_back_none_of_its_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies would tell the server which jobs belong together, and could fill a worker's memory."""
    answer = SSE.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n") + DONE
    async with (
        raw_server(answer) as server,
        model_at(monkeypatch, server.url.replace("127.0.0.1", "localhost")) as model,
    ):
        for name in ("a", "a", "b"):
            await body_of(model, model=name)
    assert len(server.heads) == 3
    assert "cookie" not in "".join(server.heads).lower()


@pytest.mark.parametrize("azure", [False, True])
@pytest.mark.parametrize("name", ["\ud83d", "n" * 10_240])
async def test_a_name_that_no_model_can_have_is_no_models(
    monkeypatch: pytest.MonkeyPatch, name: str, azure: bool
) -> None:
    async with raw_server(SSE + DONE) as server, model_at(monkeypatch, server.url, azure=azure) as model:
        error = await failure(model, model=name)
    assert (error.code, error.retryable, server.heads) == ("model_not_found", False, [])


@pytest.mark.parametrize("name", [".", "..", "a/b", "../x", "a\\b", "a?b", "a#b", "%2e%2e", "a\0", "a\x1fb", "a\x85"])
async def test_a_name_cannot_leave_its_part_of_azures_path(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Elsewhere the name is not in the address, and may contain a slash."""
    async with raw_server(SSE + DONE) as server:
        async with model_at(monkeypatch, server.url, azure=True) as model:
            error = await failure(model, model=name)
        assert (error.code, error.retryable, server.heads) == ("model_not_found", False, [])
        monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
        async with model_at(monkeypatch, server.url) as model:
            assert await body_of(model, model=name) == DONE
    assert server.heads[0].startswith("POST /v1/chat/completions HTTP")


async def test_azures_variables_make_azures_path_and_header(monkeypatch: pytest.MonkeyPatch) -> None:
    async with demo_model() as demo, model_at(monkeypatch, demo.url, azure=True) as model:
        body = await body_of(model, model="my ü-deployment:1", demo={"tokens_per_second": 0})
        request = (await demo.stats())["requests"][0]
    assert b"prompt_filter_results" in body
    path = "/openai/deployments/my%20%C3%BC-deployment:1/chat/completions?api-version=2026-10-01"
    assert request["path"] == path
    assert "api-key" in request["headers"]
    assert "authorization" not in request["headers"]


async def test_azures_path_is_each_jobs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(SSE + DONE) as server, model_at(monkeypatch, server.url, azure=True) as model:
        for name in ("a", "b", "a"):
            assert await body_of(model, model=name) == DONE
    assert [head.split("/")[3] for head in server.heads] == ["a", "b", "a"]
    assert all(f"api-key: {KEY}" in head for head in server.heads)


async def test_azures_key_is_not_told_either(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = reply(orjson.dumps({"error": {"message": KEY}}), status="400 No")
    async with raw_server(answer) as server, model_at(monkeypatch, server.url, azure=True) as model:
        error = await failure(model)
    assert f"api-key: {KEY}" in server.heads[0]
    assert KEY not in error.message


async def test_a_user_in_the_address_is_a_header_and_not_in_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        raw_server(SSE + DONE) as server,
        model_at(monkeypatch, server.url.replace("://", "://me:p%40ss-word@")) as model,
    ):
        assert await body_of(model) == DONE
        assert "p@ss-word" not in model.redactor.redact_excerpt("the password p@ss-word")
    assert "authorization: Basic bWU6cEBzcy13b3Jk\r\n" in server.heads[0]
    assert "p%40ss" not in server.heads[0]


@pytest.mark.parametrize("azure", [False, True])
async def test_a_call_is_the_one_that_the_sdk_would_make(monkeypatch: pytest.MonkeyPatch, azure: bool) -> None:
    """Path, query, credentials, and what it says of itself; but not how often it has retried."""
    for name, value in {"OPENAI_ORG_ID": "org-1", "OPENAI_CUSTOM_HEADERS": "X-Team: owls"}.items():
        monkeypatch.setenv(name, value)
    async with raw_server(SSE + HELLO + DONE) as server, model_at(monkeypatch, server.url, azure=azure) as model:
        await body_of(model)
        async with (AsyncAzureOpenAI if azure else AsyncOpenAI)(max_retries=0, timeout=None) as sdk:
            stream = await sdk.chat.completions.create(model="demo-fast", messages=[], stream=True)
            await stream.close()
    connections = ("content-length:", "connection:", "accept-encoding:", "x-stainless-retry-count:")
    ours, theirs = (
        {
            name.lower() + separator + value
            for name, separator, value in (line.partition(": ") for line in head.strip().split("\r\n"))
            if not f"{name}:".lower().startswith(connections)
        }
        for head in server.heads
    )
    assert ours == theirs
    assert {"openai-organization: org-1", "x-team: owls", "x-stainless-async: async:asyncio"} < ours


@pytest.mark.parametrize("azure", [False, True])
async def test_a_query_in_the_address_is_part_of_each_call(monkeypatch: pytest.MonkeyPatch, azure: bool) -> None:
    async with raw_server(SSE + DONE) as server, model_at(monkeypatch, f"{server.url}?a=b%26c", azure=azure) as model:
        assert await body_of(model) == DONE
    path = "openai/deployments/demo-fast/chat/completions" if azure else "chat/completions"
    version = "&api-version=2026-10-01" if azure else ""
    assert server.heads[0].startswith(f"POST /v1/{path}?a=b%26c{version} HTTP")
