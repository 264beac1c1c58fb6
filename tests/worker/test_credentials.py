"""The openai package's variables are looked at when a worker starts, not when its first job fails."""

from __future__ import annotations

import pytest

from readalong.errors import BadSettings
from readalong.settings import Settings
from tests.worker.raw import DONE, SSE, raw_server
from worker.openai_provider import OpenAIProvider
from worker.redaction import Redactor

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
    assert model.redactor.shown(f"bad key {KEY}") == "bad key ***"
