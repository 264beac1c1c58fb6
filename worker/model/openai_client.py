"""The SDK's client of this environment: OpenAI's, Azure's, or one for a server that speaks like them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import httpx2
import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from readalong.core.errors import BadSettings
from readalong.core.settings import Settings
from readalong.worker.model.credentials import address, asked_anew, variable
from readalong.worker.model.transport import AiohttpTransport

#: Where OpenAI is: the SDK would take an OPENAI_BASE_URL that is blank for an address.
_OPENAI: Final = "https://api.openai.com/v1"


def client_of(
    settings: Settings,
    transport: AiohttpTransport,
    *,
    on_response: Callable[[httpx2.Response], Awaitable[None]],
    learn: Callable[[str], None],
) -> AsyncOpenAI:
    """Returns a client that sends over `transport`, and neither retries, times out nor keeps cookies.

    `on_response` is called with the head of each answer. `learn` is told each key that READALONG_CREDENTIALS returns.
    Raises BadSettings.
    """
    try:
        http_client = httpx2.AsyncClient(
            transport=transport,
            timeout=None,
            # No server's cookies are kept.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [on_response]},
        )
        # Retries are ours: they end with the first token, obey the cancel flag, and count against the job's time.
        common: dict[str, Any] = {
            "max_retries": 0,
            "timeout": None,
            "http_client": http_client,
            "organization": variable("OPENAI_ORG_ID"),
            "project": variable("OPENAI_PROJECT_ID"),
        }
        ask = asked_anew(settings.credentials, learn) if settings.credentials else None
        if endpoint := address("AZURE_OPENAI_ENDPOINT"):
            return _azure(endpoint, ask, common)
        return _openai(address("OPENAI_BASE_URL"), ask, common)
    except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(str(error).replace("\n", " ")) from None


def _azure(endpoint: str, ask: Callable[[], Awaitable[str]] | None, common: dict[str, Any]) -> AsyncOpenAI:
    key, token = variable("AZURE_OPENAI_API_KEY"), variable("AZURE_OPENAI_AD_TOKEN")
    version = variable("OPENAI_API_VERSION")
    if ask is not None and (key or token):
        raise BadSettings("READALONG_CREDENTIALS: set it or AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN, one of them")
    if not (key or token or ask):
        raise BadSettings("AZURE_OPENAI_API_KEY: not set, nor AZURE_OPENAI_AD_TOKEN nor READALONG_CREDENTIALS")
    if not version:
        raise BadSettings("OPENAI_API_VERSION: not set, such as 2024-10-21")
    url, headers = _without_user(endpoint)
    return AsyncAzureOpenAI(
        **common,
        azure_endpoint=url,
        api_key=key,
        azure_ad_token=token,
        azure_ad_token_provider=ask,
        api_version=version,
        default_headers=headers,
    )


def _openai(base_url: str | None, ask: Callable[[], Awaitable[str]] | None, common: dict[str, Any]) -> AsyncOpenAI:
    key = variable("OPENAI_API_KEY")
    if ask is not None and key:
        raise BadSettings("READALONG_CREDENTIALS: set it or OPENAI_API_KEY, one of them")
    if not (key or base_url or ask):
        raise BadSettings(
            "OPENAI_API_KEY: not set; set it, or READALONG_CREDENTIALS, or OPENAI_BASE_URL for a server without keys, "
            "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, or READALONG_PROVIDERS"
        )
    url, headers = _without_user(base_url or _OPENAI)
    # vLLM, Ollama and others take any key, but the SDK wants one.
    return AsyncOpenAI(**common, api_key=ask or key or "none", base_url=url, default_headers=headers)


def _without_user(address: str) -> tuple[str, dict[str, str]]:
    """The address without its user, and the header that its user becomes: in an address it would be in logs."""
    url = httpx2.URL(address)
    if not url.userinfo:
        return address, {}
    basic = b64encode(unquote_to_bytes(url.userinfo)).decode()
    return str(url.copy_with(username=None, password=None)), {"Authorization": f"Basic {basic}"}
