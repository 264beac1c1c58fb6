"""Streams that can be written, for Durable Streams' conformance suite: each is a job, and what is appended its log.

Reads are the API's own. Of its answers the shim changes the bodies alone: the suite reads back the bytes that it wrote,
and a job's messages are events. Offsets, statuses, tags, cursors and the events of a stream pass.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from readalong.core.events import NewEvent
from readalong.store.log import Log
from tests.api.helpers import Player

_NEXT: Final = "Stream-Next-Offset"
_CLOSED: Final = "Stream-Closed"
_START: Final = re.compile(r"(^|&)offset=-1(&|$)")
_TTL: Final = re.compile(r"0|[1-9][0-9]*")
#: Bytes of a request, more than the suite sends.
_MAX_BODY: Final = 2**26
#: Headers of one connection, or of a body that is changed.
_OWN_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "connection", "content-type", "date"})


class _Stream:
    def __init__(self, player: Player, content_type: str, start: str) -> None:
        self.player = player
        self.start = start
        self.content_type = content_type
        self.closed = False
        self.seq = ""
        self.lock = asyncio.Lock()

    def query_of(self, given: str) -> str:
        """The suite's streams begin behind the job's own messages."""
        if not given:
            return f"offset={self.start}"
        return _START.sub(rf"\1offset={self.start}\2", given)

    @property
    def kind(self) -> str:
        return kind_of(self.content_type)

    @property
    def is_json(self) -> bool:
        return self.kind == "application/json"

    @property
    def is_binary(self) -> bool:
        return not (self.is_json or self.kind.startswith("text/"))

    async def append(self, body: bytes) -> None:
        """Raises ValueError for a body that is no message."""
        pieces = [body]
        if self.is_json:
            value = orjson.loads(body)
            pieces = [orjson.dumps(each) for each in value] if isinstance(value, list) else [body]
            if not pieces:
                raise ValueError("an empty array")
        await self.player.append(*(NewEvent("content", {"content": b64encode(piece).decode()}) for piece in pieces))

    def body_of(self, messages: bytes) -> bytes:
        """What was appended, of a JSON array of messages."""
        pieces = [b64decode(each["content"]) for each in orjson.loads(messages) if each["type"] == "content"]
        return b"[%b]" % b",".join(pieces) if self.is_json else b"".join(pieces)

    def frame_of(self, data: bytes) -> bytes:
        """An event of the stream, of the data of an `event: data`; b"" if it says nothing of what was appended."""
        body = self.body_of(data)
        if body in (b"", b"[]"):
            return b""
        lines = [b64encode(body)] if self.is_binary else re.split(rb"\r\n|\r|\n", body)
        return b"event: data\n%b\n" % b"".join(b"data:%b\n" % line for line in lines)


class Shim:
    """`api`: the API's address, whose jobs are written to `log`."""

    def __init__(self, api: str, log: Log) -> None:
        self._api = api
        self._log = log
        self._streams: dict[str, _Stream] = {}
        self._http: aiohttp.ClientSession

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yields its address."""
        app = web.Application(client_max_size=_MAX_BODY)
        for method in ("PUT", "POST", "DELETE", "GET", "HEAD", "OPTIONS"):
            app.router.add_route(method, "/{path:.*}", getattr(self, f"_{method.lower()}"))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        connector = aiohttp.TCPConnector(limit=0)
        try:
            async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._http:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
                await runner.cleanup()
        finally:
            await runner.cleanup()

    async def _put(self, request: web.Request) -> web.Response:
        body, given = await request.read(), request.headers
        if (ttl := given.get("Stream-TTL")) is not None and (not _TTL.fullmatch(ttl) or "Stream-Expires-At" in given):
            return web.Response(status=400)
        kind, closed = given.get("Content-Type", "application/octet-stream"), given.get(_CLOSED) == "true"
        known = self._streams.get(request.path)
        if known is not None:
            same = known.kind == kind_of(kind) and known.closed == closed
            return web.Response(status=200 if same else 409, headers=await self._headers(known))
        player = await Player.start(self._log)
        stream = _Stream(player, kind, await self._offset_of(player))
        try:
            if body and not (kind_of(kind) == "application/json" and body.strip() == b"[]"):
                await stream.append(body)
        except ValueError:
            return web.Response(status=400)
        if closed:
            await self._close(stream)
        self._streams[request.path] = stream
        location = {"Location": str(request.url.with_query(None))}
        return web.Response(status=201, headers={**await self._headers(stream), **location})

    async def _post(self, request: web.Request) -> web.Response:
        body, given = await request.read(), request.headers
        stream = self._streams.get(request.path)
        if stream is None:
            return web.Response(status=404)
        async with stream.lock:
            status = await self._append(stream, body, given)
            return web.Response(status=status, headers=await self._headers(stream))

    async def _append(self, stream: _Stream, body: bytes, given: Any) -> int:
        """Returns the status."""
        closes, seq = given.get(_CLOSED) == "true", given.get("Stream-Seq")
        if not body:
            if closes and not stream.closed:
                await self._close(stream)
            return 204 if closes else 400
        if stream.closed:
            return 409
        if "Content-Type" not in given:
            return 400
        if kind_of(given["Content-Type"]) != stream.kind or (seq is not None and seq <= stream.seq):
            return 409
        try:
            await stream.append(body)
        except ValueError:
            return 400
        stream.seq = seq or stream.seq
        if closes:
            await self._close(stream)
        return 204

    async def _delete(self, request: web.Request) -> web.Response:
        stream = self._streams.pop(request.path, None)
        if stream is None:
            return web.Response(status=404)
        async with self._http.delete(f"{self._api}/v1/jobs/{stream.player.job_id}") as response:
            return web.Response(status=response.status)

    async def _head(self, request: web.Request) -> web.StreamResponse:
        return await self._read(request)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return await self._read(request)

    async def _options(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with self._http.options(f"{self._api}/v1/jobs/{'x' * 22}/stream", headers=headers) as found:
            return web.Response(status=found.status, headers=found.headers)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        """The API's answer, with its body changed back to what was written."""
        stream = self._streams.get(request.path)
        url = f"{self._api}/v1/jobs/{'x' * 22 if stream is None else stream.player.job_id}/stream"
        query = request.rel_url.raw_query_string
        if stream is not None and request.method == "GET":
            query = stream.query_of(query)
        passed = {name: given for name in ("If-None-Match", "Accept") if (given := request.headers.get(name))}
        # A wrong offset must reach the API as it is.
        async with self._http.request(request.method, URL(f"{url}?{query}", encoded=True), headers=passed) as found:
            headers = {name: value for name, value in found.headers.items() if name.lower() not in _OWN_HEADERS}
            kind = found.headers.get("Content-Type", "")
            if stream is None or found.status not in (200, 204, 304):
                return web.Response(status=found.status, headers=headers, body=await found.read(), content_type=None)
            if kind.startswith("text/event-stream"):
                return await self._relay(request, stream, found, {**headers, "Content-Type": "text/event-stream"})
            if found.status == 200:
                headers["Content-Type"] = stream.content_type
            body = stream.body_of(await found.read()) if request.method == "GET" and found.status == 200 else b""
            # A message of the job's own: to the suite, nothing came.
            none = found.status == 200 and body in (b"", b"[]") and request.query.get("live") == "long-poll"
            return web.Response(status=204 if none else found.status, headers=headers, body=b"" if none else body)

    async def _relay(
        self, request: web.Request, stream: _Stream, found: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        if stream.is_binary:
            headers["Stream-SSE-Data-Encoding"] = "base64"
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        rest = b""
        async for piece in found.content.iter_any():
            *frames, rest = (rest + piece).split(b"\n\n")
            said = [
                stream.frame_of(frame.removeprefix(b"event: data\ndata:"))
                if frame.startswith(b"event: data\n")
                else frame + b"\n\n"
                for frame in frames
            ]
            await answer.write(b"".join(said))
        await answer.write_eof()
        return answer

    async def _close(self, stream: _Stream) -> None:
        await stream.player.finish()
        stream.closed = True

    async def _headers(self, stream: _Stream) -> dict[str, str]:
        closed = {_CLOSED: "true"} if stream.closed else {}
        return {_NEXT: await self._offset_of(stream.player), "Content-Type": stream.content_type, **closed}

    async def _offset_of(self, player: Player) -> str:
        """Where the job's stream ends."""
        async with self._http.head(f"{self._api}/v1/jobs/{player.job_id}/stream") as found:
            return found.headers[_NEXT]


def kind_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
