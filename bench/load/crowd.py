"""The measurements' interface to the readers' process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import orjson

from bench.harness.errors import BenchError
from bench.harness.stack import Stack

_LINE: Final = 1 << 27
_ANSWER_WITHIN: Final = 120.0


class Arrival(NamedTuple):
    """Seconds until the last client had all; missing events and repeated events, over all clients."""

    seconds: float
    lost: int
    more: int


class Crowd:
    """Many clients of one server at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def start(cls, stack: Stack, name: str = "readers") -> AsyncIterator[Crowd]:
        """Runs the process, under this name, for the length of the block."""
        with stack.child("readers", name) as port:
            for _ in range(500):
                try:
                    streams = await asyncio.open_connection("127.0.0.1", port, limit=_LINE)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
            else:
                raise BenchError("the readers did not start")
            try:
                yield cls(*streams)
            finally:
                streams[1].close()

    async def open(
        self, port: int, requests: Sequence[str], expect: Sequence[int] = (), *, sample: int = 10, within: float = 60
    ) -> Arrival:
        """Opens one client for each request, and waits until each has a response and its expected events."""
        told = {"port": port, "requests": requests, "expect": expect or [0] * len(requests), "sample": sample}
        answer = await self._do("open", **told, within=within)
        if answer["unbegun"]:
            raise BenchError(f"{answer['unbegun']} of {len(requests)} clients were not answered")
        return Arrival(answer["seconds"], answer["lost"], answer["more"])

    async def expect(self, events: int) -> None:
        """Expects this many events at each client from now on."""
        await self._do("reset", expect=events)

    async def wait(self, within: float) -> Arrival:
        """Waits until they have come, or for `within` seconds; counted from `expect`."""
        answer = await self._do("wait", within=within)
        return Arrival(answer["seconds"], answer["lost"], answer["more"])

    async def delays(self) -> list[float]:
        """Returns milliseconds from publish to read of each event since `expect`, at a sample of the clients."""
        return list((await self._do("delays"))["ms"])

    async def close(self, keep: int = 0) -> None:
        """Closes all but the first `keep` clients."""
        await self._do("close", keep=keep)

    async def _do(self, what: str, **told: Any) -> dict[str, Any]:
        self._writer.write(orjson.dumps({"do": what, **told}) + b"\n")
        line = await asyncio.wait_for(self._reader.readline(), _ANSWER_WITHIN)
        if not line:
            raise BenchError("the readers ended")
        answer: dict[str, Any] = orjson.loads(line)
        if answer["error"]:
            raise BenchError(f"a client: {answer['error']}")
        return answer


def get(path: str, after: int | None = None) -> str:
    """Returns the request of a watcher; `after`: its position."""
    position = "" if after is None else f"last-event-id: {after}\r\n"
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{position}\r\n"


def post(path: str, body: dict[str, Any], key: str) -> str:
    """Returns the request that submits a job and watches it; with the same Idempotency-Key it is the same job."""
    data = orjson.dumps(body).decode()
    head = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
    return f"POST {path} HTTP/1.1\r\n{head}idempotency-key: {key}\r\n\r\n{data}"
