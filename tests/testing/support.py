"""A demo model on a free port, with clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from openai import AsyncOpenAI

from readalong.testing.journal import Journal
from tests.support.connections import open_connection
from tests.support.model import serving_model
from tests.support.waiting import WITHIN

MESSAGES = [{"role": "user", "content": "How does streaming with Redis work?"}]
QUICK = {"tokens_per_second": 0, "first_token_seconds": 0}


@dataclass(frozen=True)
class Server:
    """A running model; `url` ends in `/v1`."""

    url: str
    port: int
    client: AsyncOpenAI
    http: aiohttp.ClientSession

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def create(self) -> Any:
        """The openai package's call, untyped: its types have no `demo` and no plain lists of messages."""
        return self.client.chat.completions.create

    async def stats(self) -> dict[str, Any]:
        async with self.http.get(f"{self.root}/stats") as response:
            shown: dict[str, Any] = await response.json()
            return shown

    async def stats_when(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Returns the first stats for which `holds` is true. Fails after the deadline."""
        async with asyncio.timeout(WITHIN):
            while True:
                shown = await self.stats()
                if holds(shown):
                    return shown

    async def post(self, body: object, path: str = "/v1/chat/completions") -> tuple[int, bytes]:
        """Posts `body`, bytes unchanged. Returns status and body."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.http.post(self.root + path, data=data) as response:
            return response.status, await response.read()

    async def events(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[Any]:
        """Returns the parsed data lines of a stream, `[DONE]` as text, invalid JSON as bytes."""
        status, raw = await self.post({"stream": True, **body}, path)
        assert status == 200, raw
        return [parsed(line) for line in raw.split(b"\n") if line.startswith(b"data: ")]

    @asynccontextmanager
    async def raw(self, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        """Yields a reader of the response's bytes, over a plain socket."""
        data = orjson.dumps({"stream": True, **body})
        reader, writer = await open_connection(self.port)
        try:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: demo\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            async with asyncio.timeout(WITHIN):
                yield reader
        finally:
            writer.close()


def parsed(line: bytes) -> Any:
    data = line.removeprefix(b"data: ").rstrip(b"\r")
    if data == b"[DONE]":
        return "[DONE]"
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


def ask(model: str = "demo", **more: Any) -> dict[str, Any]:
    """Returns a request body for full speed, with the given `demo` options."""
    return {"model": model, "messages": MESSAGES, **more, "demo": {**QUICK, **more.get("demo", {})}}


def deltas(events: list[Any], choice: int = 0) -> list[dict[str, Any]]:
    """Returns the deltas of one choice."""
    return [
        shown["delta"]
        for event in events
        if isinstance(event, dict)
        for shown in event.get("choices", ())
        if shown["index"] == choice and "delta" in shown
    ]


def text(events: list[Any], choice: int = 0) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(events, choice))


def finish(events: list[Any], choice: int = 0) -> str | None:
    """Returns the finish reason of one choice, or None."""
    for event in events:
        for shown in event.get("choices", ()) if isinstance(event, dict) else ():
            if shown["index"] == choice and shown["finish_reason"]:
                return str(shown["finish_reason"])
    return None


@asynccontextmanager
async def running(journal: Journal | None = None) -> AsyncIterator[Server]:
    """Runs a demo model in this process, on real sockets."""
    async with serving_model(journal) as url, aiohttp.ClientSession() as http:
        port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
        async with AsyncOpenAI(base_url=url, api_key="demo", max_retries=0, timeout=WITHIN) as client:
            yield Server(url, port, client, http)
