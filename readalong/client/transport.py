"""What the library needs of httpx2: clients, time-outs, and errors in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from readalong.client.errors import ApiConnectionError, MisuseError
from readalong.client.requests import Request
from readalong.client.retry import Replicas

DEFAULT_URL: Final = "http://127.0.0.1:8000"

#: This machine itself, which a proxy cannot reach.
_LOOPBACK: Final = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
#: What reading and opening may raise; the last three after a close by another thread or task.
BROKEN: Final = (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError, OSError)


@dataclass(frozen=True)
class ClientOptions:
    """How a client calls. All times are in seconds.

    `give_up`: how long trouble may last without a break. `silence`: after so long without a byte a stream counts as
    dead; the API sends a comment every 15. `longest_wait`: between two tries.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float = 5.0
    response_timeout: float = 15.0
    give_up: float = 60.0
    silence: float = 45.0
    longest_wait: float = 3.0

    def replicas(self, base_url: str | Sequence[str] | None) -> Replicas:
        """Returns the replicas at these URLs; None: at READALONG_URL. Raises MisuseError for what is no URL."""
        given = base_url or os.environ.get("READALONG_URL") or DEFAULT_URL
        urls = [_checked(url) for url in ([given] if isinstance(given, str) else given)]
        return Replicas(urls, give_up=self.give_up, longest_wait=self.longest_wait)

    def http(self, api_key: str | None) -> dict[str, Any]:
        """Returns the arguments of an httpx2 client."""
        headers = {"user-agent": "readalong-python", **self.headers}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        return {
            "headers": headers,
            "mounts": {f"all://{host}": None for host in _LOOPBACK},
            # The default of 100 would let the 101st watch wait for a connection.
            "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        }

    def arguments(self, url: str, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """Returns the arguments of an httpx2 request."""
        timeout = httpx2.Timeout(self.response_timeout, connect=self.connect_timeout)
        if stream:
            timeout = httpx2.Timeout(self.silence, connect=self.connect_timeout)
        return {
            "method": request.method,
            "url": url + request.path,
            "params": dict(request.query) or None,
            "content": request.body,
            "headers": dict(request.headers),
            "timeout": timeout,
        }


def connection_error(url: str, error: Exception) -> ApiConnectionError:
    """Returns the error of a call that got no response, or half of one."""
    what = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return ApiConnectionError(f"No API at {url}: {what}.", refused=True)
    if isinstance(error, httpx2.TimeoutException):
        return ApiConnectionError(f"The API at {url} does not answer ({type(error).__name__}).")
    return ApiConnectionError(f"The connection to {url} failed: {what}.")


@contextmanager
def sending() -> Iterator[None]:
    """Around a request in an event loop: a connection that breaks while it is made is an error of the connection.

    On uvloop its transport has no socket any more when anyio asks for the peer's name, which is an AttributeError.
    """
    try:
        yield
    except AttributeError as error:
        raise httpx2.ReadError("the connection broke while it was made") from error


def shut_down(response: httpx2.Response) -> None:
    """Ends the response's connection under a thread that reads it: to close the socket would leave it waiting."""
    stream = response.extensions.get("network_stream")
    sock = None if stream is None else stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def _checked(url: str) -> str:
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host or not 0 < (parts.port or 80) < 65_536:
        raise MisuseError(f"{url[:200]!r} is not the URL of an API; give http://HOST:PORT.")
    return url.rstrip("/")
