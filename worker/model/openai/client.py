"""Creates the SDK's client that the environment describes: OpenAI's, Azure's, or a compatible server's."""

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
from readalong.worker.model.openai.credentials import env_address, env_value, key_source
from readalong.worker.model.openai.transport import AiohttpTransport

#: The SDK would take a blank OPENAI_BASE_URL for an address.
_OPENAI_URL: Final = "https://api.openai.com/v1"


def create_client(
    settings: Settings,
    transport: AiohttpTransport,
    *,
    on_response: Callable[[httpx2.Response], Awaitable[None]],
    on_key: Callable[[str], None],
) -> AsyncOpenAI:
    """Returns a client that sends over `transport`, and neither retries, times out nor keeps cookies.

    Calls `on_response` with the head of each response, and `on_key` with each key that READALONG_CREDENTIALS returns.
    Raises BadSettings.
    """
    try:
        http_client = httpx2.AsyncClient(
            transport=transport,
            timeout=None,
            # Accepts no cookies.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [on_response]},
        )
        # The worker retries: only before the first token, within the job's time, and not after a cancel.
        common: dict[str, Any] = {
            "max_retries": 0,
            "timeout": None,
            "http_client": http_client,
            "organization": env_value("OPENAI_ORG_ID"),
            "project": env_value("OPENAI_PROJECT_ID"),
        }
        get_key = key_source(settings.credentials, on_key) if settings.credentials else None
        if endpoint := env_address("AZURE_OPENAI_ENDPOINT"):
            return _azure(endpoint, get_key, common)
        return _openai(env_address("OPENAI_BASE_URL"), get_key, common)
    except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(str(error).replace("\n", " ")) from None


def _azure(endpoint: str, get_key: Callable[[], Awaitable[str]] | None, common: dict[str, Any]) -> AsyncOpenAI:
    key, token = env_value("AZURE_OPENAI_API_KEY"), env_value("AZURE_OPENAI_AD_TOKEN")
    version = env_value("OPENAI_API_VERSION")
    if get_key is not None and (key or token):
        raise BadSettings("READALONG_CREDENTIALS: set it or AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN, one of them")
    if not (key or token or get_key):
        raise BadSettings("AZURE_OPENAI_API_KEY: not set, nor AZURE_OPENAI_AD_TOKEN nor READALONG_CREDENTIALS")
    if not version:
        raise BadSettings("OPENAI_API_VERSION: not set, such as 2024-10-21")
    url, headers = _split_userinfo(endpoint)
    return AsyncAzureOpenAI(
        **common,
        azure_endpoint=url,
        api_key=key,
        azure_ad_token=token,
        azure_ad_token_provider=get_key,
        api_version=version,
        default_headers=headers,
    )


def _openai(base_url: str | None, get_key: Callable[[], Awaitable[str]] | None, common: dict[str, Any]) -> AsyncOpenAI:
    key = env_value("OPENAI_API_KEY")
    if get_key is not None and key:
        raise BadSettings("READALONG_CREDENTIALS: set it or OPENAI_API_KEY, one of them")
    if not (key or base_url or get_key):
        raise BadSettings(
            "OPENAI_API_KEY: not set; set it, or READALONG_CREDENTIALS, or OPENAI_BASE_URL for a server without keys, "
            "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, or READALONG_PROVIDERS"
        )
    url, headers = _split_userinfo(base_url or _OPENAI_URL)
    # The SDK requires a key, also for servers that need none.
    return AsyncOpenAI(**common, api_key=get_key or key or "none", base_url=url, default_headers=headers)


def _split_userinfo(address: str) -> tuple[str, dict[str, str]]:
    """Returns the address without its user, and the user as a header: an address may be logged."""
    url = httpx2.URL(address)
    if not url.userinfo:
        return address, {}
    basic = b64encode(unquote_to_bytes(url.userinfo)).decode()
    return str(url.copy_with(username=None, password=None)), {"Authorization": f"Basic {basic}"}
