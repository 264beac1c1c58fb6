"""A client that sends malformed requests: none may cause a 500 or harm another client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final
from urllib.parse import urlsplit

from tests.chaos.history import History

_NO_JOB: Final = "A" * 22
#: Requests. A 2xx, or a 5xx other than 503, in response is a trouble.
_MALFORMED: Final = (
    b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{"half": ',
    b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"messages": 7}',
    b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{"messages": [',
    f"GET /v1/jobs/{_NO_JOB}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    f"GET /v1/jobs/{_NO_JOB}/events HTTP/1.1\r\nHost: localhost\r\n"
    "Last-Event-ID: -1\r\nConnection: close\r\n\r\n".encode(),
    f"POST /v1/jobs/{_NO_JOB}/cancel HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n".encode(),
    b"GET /v1/jobs/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /v1/jobs?limit=0&before=%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"BREW /coffee HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000,
    b"",
)
#: Seconds that the client waits for a response.
_PATIENCE: Final = 1.0


class FuzzClient:
    def __init__(self, history: History, urls: Sequence[str], rng: Random) -> None:
        self._history = history
        self._urls = urls
        self._rng = rng

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.05, 0.6))
            await self._send(self._rng.choice(self._urls), self._rng.choice(_MALFORMED))

    async def _send(self, url: str, request: bytes) -> None:
        parts = urlsplit(url)
        answer = b""
        with suppress(OSError, TimeoutError):  # the API may be down, and need not answer malformed requests
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                async with asyncio.timeout(_PATIENCE):
                    writer.write(request)
                    answer = await reader.readline()
            finally:
                writer.transport.abort()
        status = answer.split(b" ")[1] if answer.startswith(b"HTTP/1.1 ") else b""
        if status.startswith((b"2", b"5")) and status != b"503":
            self._history.trouble(f"{answer!r} for {request[:80]!r}")
