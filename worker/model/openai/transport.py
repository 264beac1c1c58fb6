"""Sends httpx2's requests over aiohttp, which takes a third of the CPU of httpx2's own connections."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

#: Key of a response's extensions that holds aiohttp's response, whose body is read directly.
RESPONSE: Final = "aiohttp_response"

#: Size of the read buffer in bytes. Aiohttp pauses the connection at twice as many.
_BUFFER: Final = 32_768
#: Redirects that one call follows.
_MAX_REDIRECTS: Final = 5
#: Redirects that keep the method. The others would become a GET without the prompt.
_SAME_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = _SAME_METHOD | {301, 302, 303}
#: Longest response header in bytes: some gateways send policies of 10 KB.
_MAX_HEADER: Final = 131_072


class RedirectNotFollowed(Exception):
    """A redirect that is not followed: it would send the prompt to another server, or drop it.

    The argument is the status.
    """


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends httpx2's requests over one aiohttp session, and through the environment's proxies.

    Redirects within the origin (scheme, host and port) that keep the method are followed. Any other raises
    RedirectNotFollowed. All other errors are aiohttp's own.
    """

    def __init__(self, *, connect_timeout: float) -> None:
        """`connect_timeout` is in seconds."""
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._context: ssl.SSLContext = httpx2.create_ssl_context()
        self.proxies = getproxies()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Returns the response to a request, after redirects."""
        url, content = request.url, await request.aread()
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._send(request, url, content)
            if response.status not in _REDIRECTS or "location" not in response.headers:
                break
            response.close()
            target = _target(url, response)
            if target is None:
                raise RedirectNotFollowed(response.status)
            url = target
        else:
            raise RedirectNotFollowed(response.status)
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
                # The slots limit the connections. A stream that waited for a free connection would look like a slow
                # model.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ssl=self._context),
                timeout=self._timeout,
                read_bufsize=_BUFFER,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                # Cookies would tell the server which jobs belong together, and could fill our memory.
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
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    def _proxy(self, url: httpx2.URL) -> str | None:
        proxy = self.proxies.get(url.scheme) or self.proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host) else proxy


def _target(url: httpx2.URL, response: aiohttp.ClientResponse) -> httpx2.URL | None:
    """Returns the address that a redirect leads to; None if it must not be followed."""
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
        # A connection whose body was not read to its end is closed. Any other is reused.
        self._response.release()
