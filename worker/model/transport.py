"""The way of a call to the model over aiohttp, which takes a third of the CPU of httpx2's own connections."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

#: Key of a response's extensions: aiohttp's own response, whose body is read without the steps between.
RESPONSE: Final = "aiohttp_response"

#: Bytes that wait to be read; at twice as many aiohttp stops reading the connection.
_BUFFER: Final = 32_768
#: Redirects of one call that are followed.
_MOST_REDIRECTS: Final = 5
#: Statuses that ask for the same method at another place. The others would make a GET of it, without the prompt.
_SAME_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = _SAME_METHOD | {301, 302, 303}
#: Longest header of an answer in bytes; some gateways send policies of 10 KB.
_LONGEST_HEADER: Final = 131_072


class Redirected(Exception):
    """A redirect that is not followed: the prompt would go to another server, or not at all. Its argument is the
    status."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends httpx2's requests over one aiohttp session, and through the environment's proxies.

    Redirects are followed within the origin (scheme, host and port) and with the same method; any other is Redirected.
    All other errors are aiohttp's own.
    """

    def __init__(self, *, connect_timeout: float) -> None:
        """`connect_timeout` is in seconds."""
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._context: ssl.SSLContext = httpx2.create_ssl_context()
        self.proxies = getproxies()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url, content = request.url, await request.aread()
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._send(request, url, content)
            if response.status not in _REDIRECTS or "location" not in response.headers:
                break
            response.close()
            target = _target(url, response)
            if target is None:
                raise Redirected(response.status)
            url = target
        else:
            raise Redirected(response.status)
        return httpx2.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Stream(response),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode(),
                RESPONSE: response,
            },
        )

    async def _send(self, request: httpx2.Request, url: httpx2.URL, content: bytes) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit on connections but the slots: a stream that waited for a free connection would look like a
                # slow model.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ssl=self._context),
                timeout=self._timeout,
                read_bufsize=_BUFFER,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
                # A server could tell jobs apart by cookies, and fill our memory with them.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return await self._session.request(
            request.method,
            str(url),
            headers=request.headers,
            data=content or None,
            allow_redirects=False,
            auto_decompress=False,
            proxy=self._proxy(url),
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _proxy(self, url: httpx2.URL) -> str | None:
        proxy = self.proxies.get(url.scheme) or self.proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host) else proxy


def _target(url: httpx2.URL, response: aiohttp.ClientResponse) -> httpx2.URL | None:
    """Where a redirect leads; None where it is not to be followed."""
    if response.status not in _SAME_METHOD:
        return None
    try:
        target = url.join(response.headers["location"])
        stays = not target.userinfo and target.origin == url.origin
    except (httpx2.InvalidURL, ValueError):
        return None
    return target.copy_with(fragment=None) if stays else None


class _Stream(httpx2.AsyncByteStream):
    """The body of one response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        # A connection whose body was not read to its end is closed, any other is kept for the next call.
        self._response.release()
