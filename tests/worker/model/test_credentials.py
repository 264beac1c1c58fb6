"""The openai package's variables are validated when a worker starts, not when its first job fails."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.core.errors import BadSettings, ModelError
from readalong.core.settings import Settings
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import Redactor
from tests.worker import keys_that_change
from tests.worker.raw import DONE, SSE, RawServer, raw_server

KEY = "sk-secret-0123456789abcdef"
_AZURE = {"AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_KEY": "k", "OPENAI_API_VERSION": "1"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": ""}, "OPENAI_API_KEY"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_KEY": "k"}, "OPENAI_API_VERSION"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x", "OPENAI_API_VERSION": "1"}, "AZURE_OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://[::1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "127.0.0.1:8000/v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "localhost/v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https:///v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "ftp://host/v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://ho st/v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a..b/v1"}, "OPENAI_BASE_URL"),
        ({"OPENAI_API_KEY": "sk-se\ncret"}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": '"sk-secret"'}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "sk-secret“"}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": " \t"}, "OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "a\nb"}, "OPENAI_ORG_ID"),
        ({**_AZURE, "AZURE_OPENAI_ENDPOINT": "x.openai.azure.com"}, "AZURE_OPENAI_ENDPOINT"),
        ({**_AZURE, "AZURE_OPENAI_API_KEY": "'sk-secret'"}, "AZURE_OPENAI_API_KEY"),
        ({**_AZURE, "AZURE_OPENAI_AD_TOKEN": "sk-se cret"}, "AZURE_OPENAI_AD_TOKEN"),
        ({**_AZURE, "OPENAI_API_VERSION": "1 2"}, "OPENAI_API_VERSION"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
async def test_what_is_missing_or_cannot_be_sent_is_told_in_one_line_without_its_value(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], names: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        OpenAIProvider(Settings(), Redactor())
    assert names in caught.value.message
    assert "\n" not in caught.value.message
    assert "sk-" not in caught.value.message


async def test_blanks_around_a_key_and_an_address_are_no_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(SSE + DONE) as server:
        monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
        monkeypatch.setenv("OPENAI_BASE_URL", f"\t{server.url} \r\n")
        model = OpenAIProvider(Settings(), Redactor())
        async with model.body({"model": "m", "messages": []}) as pieces:
            assert b"".join([piece async for piece in pieces]) == DONE
        await model.close()
    assert f"authorization: Bearer {KEY}\r" in server.heads[0]
    assert model.redactor.redact_excerpt(f"bad key {KEY}") == "bad key ***"


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The values that the function of the setting returns, call by call."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found: list[Any] = []
    monkeypatch.setattr(keys_that_change, "keys", found)
    return found


async def heads_of(server: RawServer, model: OpenAIProvider, calls: int) -> list[str]:
    """Returns the credentials of this many calls."""
    for _ in range(calls):
        async with model.body({"model": "m", "messages": []}) as pieces:
            assert b"".join([piece async for piece in pieces]) == DONE
    lines = [line for head in server.heads for line in head.split("\r\n")]
    return [line for line in lines if line.lower().startswith(("authorization:", "api-key:"))]


@pytest.mark.parametrize("name", ["key", "later"])
@pytest.mark.parametrize("azure", [False, True])
async def test_a_function_is_asked_for_the_key_of_each_call(
    monkeypatch: pytest.MonkeyPatch, changing: list[str], name: str, *, azure: bool
) -> None:
    """Its keys are masked. On Azure the key is a token of the directory."""
    first, second = "sk-the-first-0123456789", "sk-another-9876543210"
    changing += [first, second]
    async with raw_server(SSE + DONE) as server:
        if azure:
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
            monkeypatch.setenv("OPENAI_API_VERSION", "2026-10-01")
        else:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = OpenAIProvider(Settings(credentials=f"{keys_that_change.PATH}:{name}"), Redactor())
        sent = await heads_of(server, model, 2)
        await model.close()
    assert [line.partition(": ")[2] for line in sent] == [f"Bearer {first}", f"Bearer {second}"]
    assert model.redactor.redact_excerpt(f"not {first}, not {second}") == "not ***, not ***"


@pytest.mark.parametrize("given", [ValueError("sk-in-its-words"), "", None, b"sk-bytes", "sk-two\nlines"])
async def test_a_function_without_a_key_is_a_model_that_is_away(
    monkeypatch: pytest.MonkeyPatch, changing: list[Any], given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The job waits, and the text of the exception is not shown."""
    changing.append(given)
    async with raw_server(SSE + DONE) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = OpenAIProvider(Settings(credentials=f"{keys_that_change.PATH}:key"), Redactor())
        with pytest.raises(ModelError) as caught:
            await heads_of(server, model, 1)
        await model.close()
    error = caught.value
    assert (error.code, error.retryable, error.away, error.refuses) == ("model_unauthorized", True, True, False)
    assert "READALONG_CREDENTIALS" in error.message
    assert "sk-" not in error.message + caplog.text
    assert server.heads == []


@pytest.mark.parametrize(
    ("path", "key", "says"),
    [
        ("no_colon", "", "'no_colon' is not a package.module:function"),
        (f"{keys_that_change.PATH}:takes_one", "", "cannot be called as takes_one()"),
        (f"{keys_that_change.PATH}:key", KEY, "set it or OPENAI_API_KEY, one of them"),
    ],
)
async def test_a_function_that_cannot_be_asked_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, path: str, key: str, says: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(BadSettings, match="READALONG_CREDENTIALS") as caught:
        OpenAIProvider(Settings(credentials=path), Redactor())
    assert says in caught.value.message
