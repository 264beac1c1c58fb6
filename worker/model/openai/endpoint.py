"""Says where and with which headers a call goes: OpenAI, Azure or a compatible server, as the environment says.

The SDK's client knows what its variables mean. Its `post` takes more CPU than the rest of a call
(docs/decisions/0043-a-call-is-a-request-of-ours.md), so only its address, its headers and its query are used.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import httpx2
import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from readalong.core.errors import BadSettings
from readalong.core.settings import Settings
from readalong.worker.model.openai.credentials import env_address, env_value, key_source

#: The SDK would take a blank OPENAI_BASE_URL for an address.
_OPENAI_URL: Final = "https://api.openai.com/v1"
#: What a path segment may hold unescaped (RFC 3986, section 3.3).
_SEGMENT_SAFE: Final = "!$&'()*+,;=:@"
#: Deployments whose addresses are kept: clients may name any.
_MAX_URLS: Final = 100


class Endpoint:
    """The chat completions and the responses of one server."""

    def __init__(self, settings: Settings, on_key: Callable[[str], None]) -> None:
        """Calls `on_key` with each key that READALONG_CREDENTIALS returns. Raises BadSettings."""
        try:
            self._get_key = key_source(settings.credentials, on_key) if settings.credentials else None
            self._client = _create_client(self._get_key)
        except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
            raise BadSettings(str(error).replace("\n", " ")) from None
        #: On Azure the deployment is a segment of the path. Elsewhere only the body names the model.
        self.is_azure = isinstance(self._client, AsyncAzureOpenAI)
        self.base_url = self._client.base_url
        self._url_of = lru_cache(_MAX_URLS)(self._build_url)

    @property
    def host(self) -> str:
        """Host and port, for people: no user, no path, no key."""
        url = self.base_url
        return url.host if url.port is None else f"{url.host}:{url.port}"

    def url(self, model: str, *, responses: bool = False) -> httpx2.URL:
        """Returns the address of a model's calls."""
        if responses:
            return self._url_of("responses")
        deployment = f"deployments/{quote(model, safe=_SEGMENT_SAFE)}/" if self.is_azure else ""
        return self._url_of(f"{deployment}chat/completions")

    async def headers(self) -> Mapping[str, str]:
        """Returns the headers of one call. Asks READALONG_CREDENTIALS for its key. Raises CredentialsUnavailable."""
        if self._get_key is None:
            return self._headers
        key = {"authorization": f"Bearer {await self._get_key()}"}
        return self._headers | key if self.is_azure else key | self._headers

    @cached_property
    def _headers(self) -> dict[str, str]:
        """The headers of every call, in lower case. First read in the event loop, which one of them names."""
        default = {name: value for name, value in self._client.default_headers.items() if isinstance(value, str)}
        parts = [self._client.auth_headers, default]
        if self.is_azure:
            # As in the SDK: on Azure a token comes before the user of the address, elsewhere the user before the key.
            parts.reverse()
        headers = httpx2.Headers(parts[0])
        headers.update(parts[1])
        return dict(headers)

    def _build_url(self, place: str) -> httpx2.URL:
        path = f"{self.base_url.raw_path.decode().rstrip('/')}/{place}"
        url = self.base_url.copy_with(raw_path=path.encode())
        query = {name: str(value) for name, value in self._client.default_query.items()}
        return url.copy_merge_params(query) if query else url


def _create_client(get_key: Callable[[], Awaitable[str]] | None) -> AsyncOpenAI:
    common: dict[str, Any] = {
        "organization": env_value("OPENAI_ORG_ID"),
        "project": env_value("OPENAI_PROJECT_ID"),
        # Nothing is sent over it. The SDK would build one of its own, which takes tens of milliseconds.
        "http_client": httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport()),
    }
    if endpoint := env_address("AZURE_OPENAI_ENDPOINT"):
        return _azure(endpoint, get_key, common)
    return _openai(env_address("OPENAI_BASE_URL"), get_key, common)


def _azure(endpoint: str, get_key: Callable[[], Awaitable[str]] | None, common: dict[str, Any]) -> AsyncOpenAI:
    key, token = env_value("AZURE_OPENAI_API_KEY"), env_value("AZURE_OPENAI_AD_TOKEN")
    version = env_value("OPENAI_API_VERSION")
    if get_key is not None and (key or token):
        raise BadSettings("READALONG_CREDENTIALS: set it or AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN, one of them")
    if not (key or token or get_key):
        raise BadSettings("AZURE_OPENAI_API_KEY: not set, nor AZURE_OPENAI_AD_TOKEN nor READALONG_CREDENTIALS")
    if not version:
        raise BadSettings("OPENAI_API_VERSION: not set, such as 2024-10-21")
    url, parts = _split(endpoint)
    return AsyncAzureOpenAI(
        **common,
        **parts,
        azure_endpoint=url,
        api_key=key,
        azure_ad_token=token,
        azure_ad_token_provider=get_key,
        api_version=version,
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
    url, parts = _split(base_url or _OPENAI_URL)
    # The SDK requires a key, also for servers that need none.
    return AsyncOpenAI(**common, **parts, api_key=get_key or key or "none", base_url=url)


def _split(address: str) -> tuple[str, dict[str, Any]]:
    """Returns the address without its user and query, and these as headers and parameters of the SDK's.

    An address may be logged, and the SDK would append its path to the query.
    """
    url = httpx2.URL(address)
    headers = {}
    if url.userinfo:
        headers["Authorization"] = f"Basic {b64encode(unquote_to_bytes(url.userinfo)).decode()}"
    bare = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(bare), {"default_headers": headers, "default_query": dict(url.params)}
