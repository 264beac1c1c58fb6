"""A call goes through the environment's proxy, as other programs' requests do."""

from __future__ import annotations

import base64

import pytest

from readalong.core.settings import Settings
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import Redactor
from tests.worker.raw import DONE, SSE, raw_server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def answer_of(monkeypatch: pytest.MonkeyPatch, url: str) -> bytes:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    model = OpenAIProvider(Settings(), Redactor())
    try:
        async with model.body({"model": "m", "messages": []}) as pieces:
            return b"".join([piece async for piece in pieces])
    finally:
        await model.close()


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
async def test_a_proxy_is_asked_with_its_own_credentials(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    async with raw_server(SSE + DONE) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("://", "://me:secret@").removesuffix("/v1"))
        assert await answer_of(monkeypatch, "http://model.test:81/v1") == DONE
    assert proxy.heads[0].startswith("POST http://model.test:81/v1/chat/completions HTTP/1.1\r\n")
    assert base64.b64encode(b"me:secret").decode() in proxy.heads[0]


async def test_a_host_that_is_to_be_reached_without_the_proxy_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(SSE + DONE) as proxy, raw_server(SSE + DONE) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert await answer_of(monkeypatch, server.url) == DONE
    assert (len(proxy.heads), len(server.heads)) == (0, 1)
