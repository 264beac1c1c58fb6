"""Posts to a model over aiohttp, through the environment's proxy and after redirects."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

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


class Transport:
    """One aiohttp session for the calls to one origin (scheme, host and port).

    Redirects within the origin that keep the method are followed. Any other raises RedirectNotFollowed. All other
    errors are aiohttp's own.
    """

    def __init__(self, origin: httpx2.URL, *, connect_timeout: float) -> None:
        """`connect_timeout` is in seconds."""
        self._timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout)
        self._context: ssl.SSLContext = httpx2.create_ssl_context()
        self.proxies = getproxies()
        proxy = self.proxies.get(origin.scheme) or self.proxies.get("all")
        self._proxy = None if proxy is None or proxy_bypass(origin.host) else proxy
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: httpx2.URL, content: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Returns the response after redirects. The caller releases it."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._open_session().post(
                str(url), headers=headers, data=content, allow_redirects=False, proxy=self._proxy
            )
            if response.status not in _REDIRECTS or "location" not in response.headers:
                return response
            response.close()
            target = _target(url, response)
            if target is None:
                break
            url = target
        raise RedirectNotFollowed(response.status)

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
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
        return self._session


def body_of(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[bytes]]:
    """Returns the function that reads the body: it returns the bytes that have come, or b"" at the end."""
    if not response.headers.get("content-encoding"):
        return response.content.readany

    async def read() -> bytes:
        # One read of the connection may be unpacked to many pieces: other tasks run between them.
        await asyncio.sleep(0)
        return await response.content.readany()

    return read


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
