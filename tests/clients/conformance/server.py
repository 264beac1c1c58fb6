"""An HTTP server on a loopback port that plays scenarios, byte for byte, and records requests.

`{url}/{number}/{run}/{replica}` is the base URL of a client. A run is any word; each has a state of its own.
`{url}/manifest` has the scenarios, `{url}/record/{number}/{run}` what a run's client has sent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from tests.clients.conformance.scenario import JOB, Scenario
from tests.clients.conformance.scenarios import SCENARIOS

#: Seconds that a record waits for what has not happened yet.
_RECORD_WAIT: Final = 10.0


@dataclass
class Run:
    """One client's time with one scenario."""

    scenario: Scenario
    requests: list[dict[str, Any]] = field(default_factory=list)
    played: Counter[str] = field(default_factory=Counter)
    #: Streams whose client closed the connection before the server did.
    left: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def asked(self, method: str, path: str) -> bool:
        """Whether such a request has come."""
        return any(request["method"] == method and request["path"] == path for request in self.requests)

    async def until(self, check: Callable[[], bool]) -> None:
        """Returns when `check` is true."""
        async with self.changed:
            await self.changed.wait_for(check)

    async def change(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Exchange:
    """One request, and the connection on which an act responds."""

    def __init__(
        self, run: Run, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.run = run
        self.request = request
        self._reader = reader
        self._writer = writer

    @property
    def position(self) -> int:
        """The number of the position that the client sent."""
        return int(self.request["headers"].get("last-event-id", "0").partition("-")[0])

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Sends one chunk, so that it arrives by itself as often as not."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))
        await asyncio.sleep(0.001)

    async def client_leaves(self) -> None:
        """Returns when the client closes the connection, which counts as `left`."""
        await self._reader.read()
        await self.left()

    async def left(self) -> None:
        """Counts a client that has gone."""
        self.run.left += 1
        await self.run.change()

    def reset(self) -> None:
        """Ends the connection with an RST."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class ConformanceServer:
    """Plays scenarios to any number of runs."""

    def __init__(self) -> None:
        self._runs: dict[tuple[int, str], Run] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection: one request."""
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        words = unquote(parts.path).removeprefix("/").split("/", 3)
        if words[0] == "manifest":
            await _json(writer, [scenario.manifest() for scenario in SCENARIOS.values()])
        elif words[0] == "record":
            await _json(writer, await self._record(self._run(words[1], words[2]), query))
        else:
            run = self._run(words[0], words[1])
            request = {
                "method": method,
                "path": "/" + words[3],
                "query": query,
                "replica": int(words[2]),
                "headers": headers,
                "body": orjson.loads(raw) if raw else None,
                "at": time.monotonic(),
            }
            run.requests.append(request)
            await run.change()
            exchange = Exchange(run, request, reader, writer)
            try:
                await self._act(run, request)(exchange)
            except ConnectionError:
                await exchange.left()

    def _run(self, number: str, name: str) -> Run:
        return self._runs.setdefault((int(number), name), Run(SCENARIOS[int(number)]))

    @staticmethod
    def _act(run: Run, request: dict[str, Any]) -> Callable[[Exchange], Awaitable[None]]:
        """Returns the next act of the request's call."""
        call = f"{request['method']} {request['path'].replace(JOB, 'JOB')}"
        acts = run.scenario.acts.get(call, ())
        number = run.played[call]
        run.played[call] += 1
        if number < len(acts):
            return acts[number]
        return _unexpected

    @staticmethod
    async def _record(run: Run, query: dict[str, str]) -> dict[str, Any]:
        count, left = int(query.get("count", "0")), int(query.get("left", "0"))
        with suppress(TimeoutError):  # the runner compares what is there
            async with asyncio.timeout(_RECORD_WAIT):
                await run.until(lambda: len(run.requests) >= count and run.left >= left)
        return {"requests": run.requests, "left": run.left}


async def _unexpected(exchange: Exchange) -> None:
    problem = orjson.dumps({"code": "unexpected_request", "detail": "not in the scenario", "retryable": False})
    head = b"HTTP/1.1 500 Unexpected\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
    await exchange.write((head + b"Connection: close\r\n\r\n") % len(problem) + problem)


async def _json(writer: asyncio.StreamWriter, value: Any) -> None:
    body = orjson.dumps(value)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    writer.write(head % len(body) + body)
    await writer.drain()


@asynccontextmanager
async def serve() -> AsyncIterator[str]:
    """Serves in this loop. Yields the URL."""
    conformance = ConformanceServer()
    handlers: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(conformance.handle(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**26)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextmanager
def served_in_thread() -> Iterator[str]:
    """Serves in a thread of its own, for clients that block. Yields the URL."""
    ready: list[str] = []
    started, ends = threading.Event(), threading.Event()

    async def main() -> None:
        async with serve() as url:
            ready.append(url)
            started.set()
            await asyncio.get_running_loop().run_in_executor(None, ends.wait)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert started.wait(60)
        yield ready[0]
    finally:
        ends.set()
        thread.join()
