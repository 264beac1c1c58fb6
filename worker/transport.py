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
#: Longest header of an answer in bytes; some gateways send policies of 10 KB.
_LONGEST_HEADER: Final = 131_072


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends httpx2's requests over one aiohttp session, and through the environment's proxies.

    Errors are aiohttp's own.
    """

    def __init__(self, *, connect_timeout: float) -> None:
        """`connect_timeout` is in seconds."""
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._context: ssl.SSLContext = httpx2.create_ssl_context()
        self._proxies = getproxies()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit on connections but the slots: a stream that waited for a free connection would look like a
                # slow model.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ssl=self._context),
                timeout=self._timeout,
                read_bufsize=_BUFFER,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
        response = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=await request.aread() or None,
            allow_redirects=False,
            auto_decompress=False,
            proxy=self._proxy(request.url),
        )
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

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _proxy(self, url: httpx2.URL) -> str | None:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host) else proxy


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
